"""The prompt cache over REST."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsAdmin
from aichat.core.web.drf import StrictMembers
from aichat.promptcache import services
from aichat.promptcache.models import Invalidation


class InvalidationSerializer(StrictMembers, serializers.Serializer[Invalidation]):
    scope = serializers.ChoiceField(choices=Invalidation.Scope.choices)
    id = serializers.CharField(
        source="target",
        required=False,
        allow_blank=True,
        max_length=100_000,
        help_text="ID of the organization; ID or e-mail of the user; slug of the model; the system prompt. Not for `all`.",
    )
    created_at = serializers.DateTimeField(read_only=True)


class InvalidateView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(
        summary="Declare cached answers out of date", request=InvalidationSerializer, responses=InvalidationSerializer
    )
    def post(self, request: Request) -> Response:
        """Declare cached answers out of date: of an organization, a user, a model or a system prompt, or all of them.

        No answer made before this request is served again within the scope. Every process applies the invalidation within
        one second."""
        form = InvalidationSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        facts = form.validated_data
        row = services.invalidate(facts["scope"], facts.get("target", ""), actor=calling(request).user)
        return Response(InvalidationSerializer(row).data)
