from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from accounts import key_limits, passkeys
from accounts.authentication import calling
from accounts.mail_tokens import LONGEST
from accounts.models import RATE, AccessToken, Invitation, Membership, Scope, User
from accounts.second_factor import LONGEST as LONGEST_CODE
from aichat.core.money import CreditsField, format_credits
from aichat.core.web.drf import StrictMembers

MOST_MODELS, MOST_ADDRESSES = 200, 100  # that one key may be limited to
LONGEST_OVERLAP = 30 * 86_400  # seconds for which a rotated key may go on working


class RegisterSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})
    name = serializers.CharField(max_length=150, required=False, default="", allow_blank=True)
    invitation = serializers.CharField(
        max_length=LONGEST, required=False, default="", help_text="The code of an invitation to this address."
    )


class PasskeyAnswerSerializer(StrictMembers, serializers.Serializer[User]):
    """The answer of a passkey to a challenge of ours."""

    state = serializers.CharField(max_length=passkeys.LONGEST_STATE, help_text="As it came with the challenge.")
    credential = serializers.DictField(help_text="The browser's `credential.toJSON()`.")

    def answer(self) -> passkeys.Answer:
        return passkeys.Answer(self.validated_data["state"], self.validated_data["credential"])


class LoginSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})
    code = serializers.CharField(
        max_length=LONGEST_CODE,
        required=False,
        default="",
        allow_blank=True,
        help_text="Of the authenticator app, or a recovery code: for people with a second factor.",
    )
    passkey = PasskeyAnswerSerializer(
        required=False, help_text="Instead of a code: the answer to the challenge of the error `mfa_required`."
    )


class PasswordSerializer(StrictMembers, serializers.Serializer[User]):
    current_password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})
    new_password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})


class ResetSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.EmailField(max_length=254)


class NewPasswordSerializer(StrictMembers, serializers.Serializer[User]):
    token = serializers.CharField(max_length=LONGEST, help_text="The code of the mail.")
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})


class MailTokenSerializer(StrictMembers, serializers.Serializer[User]):
    token = serializers.CharField(max_length=LONGEST, help_text="The code of the mail.")


class NewEmailSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})


class PasswordIfAnySerializer(StrictMembers, serializers.Serializer[User]):
    """The caller's password, which people of an identity provider do not have."""

    password = serializers.CharField(
        max_length=128,
        trim_whitespace=False,
        required=False,
        default="",
        style={"input_type": "password"},
        help_text="Required of everybody who has one.",
    )


class LeaveSerializer(PasswordIfAnySerializer):
    pass


class LeavingSerializer(serializers.Serializer[User]):
    deletion_at = serializers.DateTimeField(help_text="When the account is erased, unless its person logs in before.")


class LoginSessionSerializer(serializers.ModelSerializer[AccessToken]):
    """A login of the caller's. `current` is the one that asks; `name` tells sessions of the admin site."""

    created_at = serializers.DateTimeField(source="created", read_only=True)
    expires_at = serializers.DateTimeField(source="expiry", read_only=True)
    current = serializers.SerializerMethodField()

    class Meta:
        model = AccessToken
        fields = ["id", "name", "created_at", "expires_at", "current"]
        read_only_fields = ["id", "name"]

    def get_current(self, row: AccessToken) -> bool:
        asking = calling(self.context["request"]).token
        return asking is not None and asking.pk == row.pk


class UserSerializer(StrictMembers, serializers.ModelSerializer[User]):
    language = serializers.ChoiceField(
        choices=settings.LANGUAGES,
        required=False,
        allow_null=True,
        help_text="Of pages and mails; null: the browser's.",
    )

    class Meta:
        model = User
        fields = ["id", "email", "email_confirmed", "name", "role", "language", "analytics_consent", "created_at"]
        read_only_fields = ["id", "email", "email_confirmed", "role", "created_at"]


class SessionSerializer(serializers.Serializer[AccessToken]):
    """The answer of register and login."""

    user = UserSerializer()
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`; it is not shown again.")
    expires_at = serializers.DateTimeField()


class OwnOrganizationSerializer(serializers.ModelSerializer[Membership]):
    """An organization as one of its members sees it: with their role in it."""

    id = serializers.CharField(source="organization_id", read_only=True)
    name = serializers.CharField(source="organization.name", read_only=True)
    personal = serializers.BooleanField(source="organization.is_personal", read_only=True)

    class Meta:
        model = Membership
        fields = ["id", "name", "personal", "role"]
        read_only_fields = ["role"]


class OrganizationNameSerializer(StrictMembers, serializers.Serializer[Membership]):
    name = serializers.CharField(max_length=150)


class MemberSerializer(serializers.ModelSerializer[Membership]):
    id = serializers.UUIDField(source="user_id", read_only=True, help_text="The user's.")
    email = serializers.EmailField(source="user.email", read_only=True)
    name = serializers.CharField(source="user.name", read_only=True)

    spend_limit_day = CreditsField(
        read_only=True, allow_null=True, help_text="Of the team's credits, a UTC day; null: no limit."
    )
    spend_limit_month = CreditsField(
        read_only=True, allow_null=True, help_text="Of the team's credits, a UTC month; null: no limit."
    )
    spent_month = serializers.SerializerMethodField(help_text="Of the team's credits, this UTC month.")

    class Meta:
        model = Membership
        fields = [
            "id", "email", "name", "role", "spend_limit_day", "spend_limit_month", "spent_month", "created_at",
        ]  # fmt: skip

    @extend_schema_field(CreditsField())
    def get_spent_month(self, member: Membership) -> str:
        return format_credits(self.context.get("spent", {}).get(member.user_id, 0))

    def to_representation(self, member: Membership) -> dict[str, Any]:
        """Leave out what a plain member may not see: the spending and limits of everybody else."""
        shown: dict[str, Any] = super().to_representation(member)
        by: Membership | None = self.context.get("by")
        if by is not None and by.role == Membership.Role.MEMBER and by.user_id != member.user_id:
            for name in ("spend_limit_day", "spend_limit_month", "spent_month"):
                del shown[name]
        return shown


class NewMemberSerializer(StrictMembers, serializers.Serializer[Membership]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Membership.Role.choices, default=Membership.Role.MEMBER)


class InvitationSerializer(StrictMembers, serializers.ModelSerializer[Invitation]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Membership.Role.choices, default=Membership.Role.MEMBER)

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "expires_at", "created_at"]
        read_only_fields = ["id", "expires_at", "created_at"]


class OwnInvitationSerializer(serializers.ModelSerializer[Invitation]):
    """An invitation as the person who is asked sees it."""

    organization = serializers.UUIDField(source="organization_id", read_only=True)
    name = serializers.CharField(source="organization.name", read_only=True, help_text="The team's.")
    invited_by = serializers.EmailField(source="invited_by.email", read_only=True)

    class Meta:
        model = Invitation
        fields = ["id", "organization", "name", "role", "invited_by", "expires_at", "created_at"]


class AcceptSerializer(StrictMembers, serializers.Serializer[Membership]):
    token = serializers.CharField(max_length=LONGEST, required=False, help_text="The code of the mail.")
    id = serializers.UUIDField(required=False, help_text="Of an invitation in the caller's list.")

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if len(body) != 1:
            raise serializers.ValidationError({"token": ["Write token, or id."]})
        return body


class MemberChangeSerializer(StrictMembers, serializers.Serializer[Membership]):
    role = serializers.ChoiceField(Membership.Role.choices, required=False)
    spend_limit_day = CreditsField(required=False, allow_null=True, help_text="Of the team's credits, a UTC day.")
    spend_limit_month = CreditsField(required=False, allow_null=True, help_text="Of the team's credits, a UTC month.")

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body:
            raise serializers.ValidationError({"role": ["Write role, spend_limit_day or spend_limit_month."]})
        return body


class AddressField(serializers.CharField):
    """An IP address or a network in CIDR notation, kept in its usual spelling."""

    default_error_messages = {"address": 'Write an address or a network, such as "203.0.113.7" or "2001:db8::/32".'}

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return key_limits.spelled(text)
        except ValueError:
            self.fail("address")


class NullableListField(serializers.ListField):
    """A list, or null for no limit, which is kept as an empty list."""

    def run_validation(self, data: Any = empty) -> Any:
        return [] if data is None else list(dict.fromkeys(super().run_validation(data)))


class ScopesField(NullableListField):
    """The scopes of a key. All of them are kept as none stated, and are shown as all."""

    def to_internal_value(self, data: Any) -> list[str]:
        found = super().to_internal_value(data)
        return [] if set(found) == set(Scope) else found

    def to_representation(self, data: Any) -> list[str]:
        return [scope.value for scope in Scope if not data or scope in data]


class RateField(serializers.CharField):
    """A rate such as 60/min; null is the same as an empty text: that of the role."""

    def run_validation(self, data: Any = empty) -> Any:
        return "" if data is None else super().run_validation(data)


class ApiKeySerializer(StrictMembers, serializers.ModelSerializer[AccessToken]):
    name = serializers.CharField(max_length=100)
    prefix = serializers.CharField(read_only=True, help_text="The first characters, to recognise the key by.")
    expires_at = serializers.DateTimeField(source="expiry", required=False, allow_null=True)
    rate_limit = RateField(
        max_length=20, required=False, allow_null=True, allow_blank=True, validators=[RATE],
        help_text="Of this key alone, such as 60/min; null: only the role's.",
    )  # fmt: skip
    spend_limit = CreditsField(required=False, allow_null=True, help_text="Credits the key may ever spend.")
    spend_limit_day = CreditsField(required=False, allow_null=True, help_text="Credits a day (UTC).")
    spend_limit_month = CreditsField(required=False, allow_null=True, help_text="Credits a month (UTC).")
    models = NullableListField(
        source="allowed_models", required=False, allow_null=True, max_length=MOST_MODELS,
        child=serializers.CharField(max_length=100), help_text="Slugs of the models it may use; null: all.",
    )  # fmt: skip
    allowed_ips = NullableListField(
        required=False, allow_null=True, max_length=MOST_ADDRESSES, child=AddressField(max_length=50),
        help_text="Addresses and networks it may be used from; null: everywhere.",
    )  # fmt: skip
    scopes = ScopesField(
        required=False, allow_null=True, allow_empty=False, child=serializers.ChoiceField(Scope.choices),
        max_length=len(Scope), help_text="What it may be used for; null: everything.",
    )  # fmt: skip
    spent = serializers.SerializerMethodField(help_text="Credits it has spent so far.")
    created_at = serializers.DateTimeField(source="created", read_only=True)
    organization = serializers.UUIDField(source="organization_id", read_only=True)

    class Meta:
        model = AccessToken
        fields = [
            "id", "name", "prefix", "organization", "expires_at", "rate_limit", "spend_limit", "spend_limit_day",
            "spend_limit_month", "models", "allowed_ips", "scopes", "spent", "last_used_at", "replaced_by", "created_at",
        ]  # fmt: skip
        read_only_fields = ["id", "last_used_at", "replaced_by"]

    @extend_schema_field(CreditsField())
    def get_spent(self, row: AccessToken) -> str:
        return format_credits(self.context.get("spent", {}).get(row.stable_id, 0))

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError(gettext("Write a time in the future."))
        return value


class RotationSerializer(StrictMembers, serializers.Serializer[AccessToken]):
    overlap_seconds = serializers.IntegerField(
        min_value=0, max_value=LONGEST_OVERLAP, default=0, help_text="How long the old key goes on working."
    )


class NewApiKeySerializer(ApiKeySerializer):
    """The answer to making or rotating a key, the only ones with the key itself."""

    key = serializers.CharField(read_only=True, help_text="Shown once: keep it now.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
