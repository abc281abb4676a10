"""The endpoints by which administrators read and decide who may use a model (`access.py`)."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.models import Organization, Role, User
from accounts.permissions import IsAdmin
from aichat.catalog import access, snapshot
from aichat.catalog.models import AIModel
from aichat.catalog.routing import ModelNotFound
from aichat.core.admin import audit_log
from aichat.core.web.drf import StrictMembers

MOST_ROWS = 1_000  # of organizations or users; each is looked up


def rows_of(model: type[Organization | User]) -> serializers.ListField:
    """A list of IDs, taken as the rows that have them."""
    child = serializers.PrimaryKeyRelatedField(queryset=model.objects.all(), pk_field=serializers.UUIDField())
    return serializers.ListField(child=child, default=list, max_length=MOST_ROWS)


class AccessSerializer(StrictMembers, serializers.Serializer[AIModel]):
    roles = serializers.ListField(child=serializers.ChoiceField(Role.choices), default=list, max_length=100)
    organizations = rows_of(Organization)
    users = rows_of(User)


class ModelAccessView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(summary="Who may use a model", responses=AccessSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return who may use the model. Empty lists mean everybody."""
        return Response(self.describe(self.model(slug)))

    @extend_schema(summary="Say who may use a model", request=AccessSerializer, responses=AccessSerializer)
    def put(self, request: Request, slug: str) -> Response:
        """Let exactly these use the model: roles (and those above them), organizations, users. All empty: everybody."""
        model = self.model(slug)
        form = AccessSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        before = access.given_to(model)
        access.assign(model, **form.validated_data)
        snapshot.forget()
        after = access.given_to(model)
        changed = {f"allowed_{name}": (before[name], after[name]) for name in after if before[name] != after[name]}
        if changed:
            audit_log.record(calling(request).user, model, audit_log.CHANGED, changed)
        return Response(self.describe(model))

    def model(self, slug: str) -> AIModel:
        found = AIModel.objects.filter(slug=slug).first()
        if found is None:
            raise ModelNotFound(slug)
        return found

    def describe(self, model: AIModel) -> dict[str, Any]:
        given = access.given_to(model)
        return {
            "roles": given["roles"],
            "organizations": sorted(organization.pk for organization in given["organizations"]),
            "users": sorted(user.pk for user in given["users"]),
        }
