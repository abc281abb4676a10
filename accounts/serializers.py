from datetime import datetime

from django.utils import timezone
from rest_framework import serializers

from accounts.authentication import calling
from accounts.mail_tokens import LONGEST
from accounts.models import AccessToken, Invitation, Membership, User
from aichat.core.money import CreditsField
from aichat.core.web.drf import StrictMembers


class RegisterSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})
    name = serializers.CharField(max_length=150, required=False, default="", allow_blank=True)
    invitation = serializers.CharField(
        max_length=LONGEST, required=False, default="", help_text="The code of an invitation to this address."
    )


class LoginSerializer(StrictMembers, serializers.Serializer[User]):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, style={"input_type": "password"})


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


class LoginSessionSerializer(serializers.ModelSerializer[AccessToken]):
    """A login of the caller's. `current` is the one that asks."""

    created_at = serializers.DateTimeField(source="created", read_only=True)
    expires_at = serializers.DateTimeField(source="expiry", read_only=True)
    current = serializers.SerializerMethodField()

    class Meta:
        model = AccessToken
        fields = ["id", "created_at", "expires_at", "current"]

    def get_current(self, row: AccessToken) -> bool:
        asking = calling(self.context["request"]).token
        return asking is not None and asking.pk == row.pk


class UserSerializer(StrictMembers, serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "email", "email_confirmed", "name", "role", "analytics_consent", "created_at"]
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

    class Meta:
        model = Membership
        fields = ["id", "email", "name", "role", "created_at"]


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


class MemberRoleSerializer(StrictMembers, serializers.Serializer[Membership]):
    role = serializers.ChoiceField(Membership.Role.choices)


class ApiKeySerializer(StrictMembers, serializers.ModelSerializer[AccessToken]):
    name = serializers.CharField(max_length=100)
    prefix = serializers.CharField(read_only=True, help_text="The first characters, to recognise the key by.")
    expires_at = serializers.DateTimeField(source="expiry", required=False, allow_null=True)
    spend_limit = CreditsField(required=False, allow_null=True, help_text="Credits the key may ever spend.")
    created_at = serializers.DateTimeField(source="created", read_only=True)
    organization = serializers.UUIDField(source="organization_id", read_only=True)

    class Meta:
        model = AccessToken
        fields = ["id", "name", "prefix", "organization", "expires_at", "rate_limit", "spend_limit", "created_at"]
        read_only_fields = ["id"]

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("Write a time in the future.")
        return value


class NewApiKeySerializer(ApiKeySerializer):
    """The answer to making a key, the only one with the key itself."""

    key = serializers.CharField(read_only=True, help_text="Shown once: keep it now.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
