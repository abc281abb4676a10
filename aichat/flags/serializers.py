"""Flags, experiments and their history as JSON."""

from typing import Any

from django.contrib.admin.models import LogEntry
from rest_framework import serializers

from aichat.core.admin import audit_log
from aichat.core.web.drf import StrictMembers
from aichat.flags.models import Experiment, Flag

STATES = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["enabled", "variant"],
        "properties": {"enabled": {"type": "boolean"}, "variant": {"type": ["string", "null"]}},
    },
}
LONGEST_DESCRIPTION = 10_000  # characters
MOST_NAMED, LONGEST_NAME = 10_000, 254
AUDIENCE = ["percentage", "roles", "organizations", "users", "starts_at", "ends_at"]


def named() -> Any:
    """A list of names: roles, IDs or slugs."""
    child = serializers.CharField(max_length=LONGEST_NAME)
    return serializers.ListField(child=child, required=False, max_length=MOST_NAMED)


class FlagSerializer(StrictMembers, serializers.ModelSerializer[Flag]):
    description = serializers.CharField(max_length=LONGEST_DESCRIPTION, required=False, allow_blank=True)
    roles = named()
    organizations = named()
    users = named()

    class Meta:
        model = Flag
        fields = ["key", "description", "enabled", *AUDIENCE, "created_at", "updated_at"]
        read_only_fields = ["created_at", "updated_at"]


class VariantSerializer(serializers.Serializer[Experiment]):
    """Describes a variant in the OpenAPI document. `checked_variants` does the validation."""

    name = serializers.CharField()
    weight = serializers.IntegerField(help_text="Percent of the audience.")
    model = serializers.CharField(required=False)
    system = serializers.CharField(required=False, help_text="Put before the request's own system prompt.")
    temperature = serializers.FloatField(required=False)
    max_tokens = serializers.IntegerField(required=False)


class ExperimentSerializer(StrictMembers, serializers.ModelSerializer[Experiment]):
    description = serializers.CharField(max_length=LONGEST_DESCRIPTION, required=False, allow_blank=True)
    roles = named()
    organizations = named()
    users = named()
    requested_models = named()
    variants = serializers.JSONField()

    class Meta:
        model = Experiment
        fields = [
            "key",
            "description",
            "status",
            "variants",
            *AUDIENCE,
            "requested_models",
            "unit",
            "sample_size",
            "winner",
            "started_at",
            "ended_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["started_at", "ended_at", "created_at", "updated_at"]


class ChangeSerializer(serializers.Serializer[LogEntry]):
    """A line of the audit log. Values are as text, by field: `[before, after]`."""

    id = serializers.CharField(source="pk")
    actor = serializers.CharField(source="user.email")
    changes = serializers.SerializerMethodField()
    request_id = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(source="action_time")

    def get_changes(self, entry: LogEntry) -> dict[str, list[str | None]]:
        return dict(audit_log.details(entry).get("values", {}))

    def get_request_id(self, entry: LogEntry) -> str:
        return str(audit_log.details(entry).get("request_id", ""))
