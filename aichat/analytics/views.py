"""The list of product events, for administrators."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import IsAdmin
from aichat.analytics.models import Event
from aichat.core.telemetry import product_events
from aichat.core.web.drf import CursorPages


class EventSerializer(serializers.ModelSerializer[Event]):
    user = serializers.UUIDField(source="user_id", allow_null=True)
    organization = serializers.UUIDField(source="organization_id", allow_null=True)

    facts = serializers.JSONField(source="told", help_text="Identifiers and numbers; amounts in credits.")

    class Meta:
        model = Event
        fields = ["id", "name", "user", "organization", "request_id", "facts", "created_at"]


class EventFilter(serializers.Serializer[Event]):
    """The filters of the list. `source` is the look-up of the ORM."""

    name = serializers.ChoiceField(list(product_events.CATALOG), required=False)
    user = serializers.UUIDField(source="user_id", required=False)
    organization = serializers.UUIDField(source="organization_id", required=False)
    request_id = serializers.CharField(max_length=64, required=False)

    def get_fields(self) -> dict[str, Any]:
        moments = {"from": "created_at__gte", "to": "created_at__lt"}
        return {
            **super().get_fields(),
            **{
                name: serializers.DateTimeField(source=lookup, required=False, help_text="ISO 8601, UTC.")
                for name, lookup in moments.items()
            },
        }


class EventPages(CursorPages):
    ordering = ("-created_at", "-id")  # type: ignore[assignment]


class EventsView(ListAPIView[Event]):
    serializer_class = EventSerializer
    permission_classes = [IsAdmin]
    pagination_class = EventPages

    def get_queryset(self) -> QuerySet[Event]:
        form = EventFilter(data=self.request.query_params)
        form.is_valid(raise_exception=True)
        return Event.objects.filter(**form.validated_data)

    @extend_schema(operation_id="admin_events_list", summary="Product events", parameters=[EventFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What people did and met, the newest first; a second behind the requests that caused it."""
        return super().get(request, *args, **kwargs)
