from rest_framework import serializers

from aichat.flags.models import Change, Experiment, Flag

STATES = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["enabled", "variant"],
        "properties": {"enabled": {"type": "boolean"}, "variant": {"type": ["string", "null"]}},
    },
}
AUDIENCE = ["percentage", "roles", "organizations", "users", "starts_at", "ends_at"]


class FlagSerializer(serializers.ModelSerializer[Flag]):
    roles = serializers.ListField(child=serializers.CharField(), required=False)
    organizations = serializers.ListField(child=serializers.CharField(), required=False)
    users = serializers.ListField(child=serializers.CharField(), required=False)

    class Meta:
        model = Flag
        fields = ["key", "description", "enabled", *AUDIENCE, "created_at", "updated_at"]
        read_only_fields = ["created_at", "updated_at"]


class VariantSerializer(serializers.Serializer[Experiment]):
    """For the OpenAPI document; `checked_variants` checks."""

    name = serializers.CharField()
    weight = serializers.IntegerField(help_text="Percent of the audience.")
    model = serializers.CharField(required=False)
    system = serializers.CharField(required=False, help_text="Put before the request's own system prompt.")
    temperature = serializers.FloatField(required=False)
    max_tokens = serializers.IntegerField(required=False)


class ExperimentSerializer(serializers.ModelSerializer[Experiment]):
    roles = serializers.ListField(child=serializers.CharField(), required=False)
    organizations = serializers.ListField(child=serializers.CharField(), required=False)
    users = serializers.ListField(child=serializers.CharField(), required=False)
    requested_models = serializers.ListField(child=serializers.CharField(), required=False)
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


class ChangeSerializer(serializers.ModelSerializer[Change]):
    actor = serializers.CharField(source="actor.email", allow_null=True, default=None)

    class Meta:
        model = Change
        fields = ["id", "kind", "key", "actor", "before", "after", "request_id", "created_at"]
