"""The audit log over REST: who changed what, from where, in which request."""

import json
from collections.abc import Mapping
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from accounts.models import User
from accounts.permissions import IsAdmin
from aichat.core.admin import audit_log
from aichat.core.database.batches import rows_by_key
from aichat.core.web.csv_export import CSVRenderer, csv_response
from aichat.core.web.drf import CursorPages

FLAGS = {flag: verb for verb, flag in audit_log.FLAGS.items()}
ACTIONS = (*audit_log.FLAGS, *audit_log.ACTS)


class AuditEntrySerializer(serializers.Serializer[LogEntry]):
    """An entry of the audit log. `changes` has the values as text, by field: `[before, after]`."""

    id = serializers.CharField(source="pk")
    actor = serializers.CharField(source="user.email")
    actor_id = serializers.CharField(source="user_id")
    action = serializers.ChoiceField(ACTIONS)
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    object = serializers.CharField(source="object_repr")
    changes = serializers.DictField(child=serializers.ListField(child=serializers.CharField(allow_null=True)))
    reason = serializers.CharField()
    address = serializers.CharField(help_text="Of the client; empty for entries of before it was kept.")
    request_id = serializers.CharField()
    created_at = serializers.DateTimeField(source="action_time")

    def to_representation(self, entry: LogEntry) -> dict[str, Any]:
        """Return the columns of the entry with the details that its message holds."""
        facts = audit_log.details(entry)
        return {
            "id": str(entry.pk),
            "actor": entry.user.email,
            "actor_id": str(entry.user_id),
            "action": facts.get("act") or FLAGS.get(entry.action_flag, "changed"),
            "object_type": entry.content_type.model if entry.content_type else "",
            "object_id": facts.get("id") or entry.object_id or "",
            "object": entry.object_repr,
            "changes": facts.get("values", {}),
            "reason": facts.get("reason", ""),
            "address": facts.get("address", ""),
            "request_id": facts.get("request_id", ""),
            "created_at": entry.action_time.isoformat().replace("+00:00", "Z"),
        }


class AuditFilter(serializers.Serializer[LogEntry]):
    """The filters of the audit log."""

    actor = serializers.CharField(max_length=254, required=False, help_text="E-mail or ID of the person.")
    action = serializers.ChoiceField(ACTIONS, required=False)
    object_type = serializers.CharField(max_length=100, required=False, help_text="Such as accesstoken, user, flag.")
    object_id = serializers.CharField(max_length=128, required=False, help_text="The ID of what was changed.")
    request_id = serializers.RegexField(r"\A[A-Za-z0-9._-]{1,64}\Z", required=False)

    def get_fields(self) -> dict[str, Any]:
        moments = ("from", "to")
        words = "ISO 8601, UTC."
        return {
            **super().get_fields(),
            **{name: serializers.DateTimeField(required=False, help_text=words) for name in moments},
        }


def entries(wanted: Mapping[str, Any]) -> QuerySet[LogEntry]:
    """Return the entries that the filters leave, the newest first."""
    conditions = Q()
    if actor := wanted.get("actor"):
        conditions &= Q(user_id__in=people(actor))
    if action := wanted.get("action"):
        conditions &= of_action(action)
    if kind := wanted.get("object_type"):
        types = ContentType.objects.filter(model=kind.rpartition(".")[2].lower())
        conditions &= Q(content_type_id__in=[one.pk for one in types])
    if object_id := wanted.get("object_id"):
        conditions &= Q(object_id=object_id) | Q(change_message__contains=f'"id": {json.dumps(object_id)}')
    if request_id := wanted.get("request_id"):
        conditions &= Q(change_message__contains=f'"request_id": {json.dumps(request_id)}')
    if start := wanted.get("from"):
        conditions &= Q(action_time__gte=start)
    if end := wanted.get("to"):
        conditions &= Q(action_time__lt=end)
    return LogEntry.objects.select_related("user", "content_type").filter(conditions).order_by("-pk")


def people(actor: str) -> list[Any]:
    """Return the IDs of the people who are named by an e-mail or an ID."""
    if "@" in actor:
        return list(User.objects.filter(email=User.objects.normalize_email(actor)).values_list("pk", flat=True))
    try:
        return [serializers.UUIDField().to_internal_value(actor)]
    except serializers.ValidationError:
        return []


def of_action(action: str) -> Q:
    if action in audit_log.ACTS:
        return Q(change_message__contains=f'"act": {json.dumps(action)}')
    return Q(action_flag=audit_log.FLAGS[action])


class AuditView(ListAPIView[LogEntry]):
    permission_classes = [IsAdmin]
    serializer_class = AuditEntrySerializer
    pagination_class = CursorPages
    renderer_classes = [JSONRenderer, CSVRenderer]

    def get_queryset(self) -> QuerySet[LogEntry]:
        form = AuditFilter(data=self.request.query_params)
        form.is_valid(raise_exception=True)
        return entries(form.validated_data)

    @extend_schema(
        operation_id="admin_audit_list",
        summary="The audit log",
        parameters=[AuditFilter, OpenApiParameter("format", str, enum=["json", "csv"], default="json")],
        responses={
            (200, "application/json"): AuditEntrySerializer(many=True),
            (200, "text/csv"): OpenApiResponse({"type": "string"}),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """List who changed what, the newest first: administrators' writes, and what people did to keys, accounts and teams.

        CSV has all pages.
        """
        if request.accepted_renderer.format == "csv":
            batches = rows_by_key(self.get_queryset(), newest_first=True)
            rows = (as_row(AuditEntrySerializer(entry).data) for batch in batches for entry in batch)
            return csv_response(request._request, rows, "audit.csv", AuditEntrySerializer().fields)
        return super().get(request, *args, **kwargs)


def as_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "changes": json.dumps(entry["changes"], ensure_ascii=False)}
