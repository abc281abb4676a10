"""Organizations, which own things, their members, and who is invited."""

from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone

from accounts.models.limits import SpendLimits
from accounts.models.users import User
from aichat.core.database.models import Row


class Organization(Row, SpendLimits):
    """An organization owns its wallet, keys, conversations, pictures and usage. Every user has a personal one."""

    name = models.CharField(max_length=150)
    personal_to = models.OneToOneField(
        User, null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="personal_organization"
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(36_500)],
        help_text="Days after which its conversations are deleted; 0: kept; empty: RETENTION_DAYS.",
    )
    issuer_team = models.CharField(
        "team of the identity provider",
        max_length=150,
        null=True,
        blank=True,
        unique=True,
        help_text="By this name OIDC_GROUPS_MAP means this team; empty: it means none here.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    # Written first by changes of the members, which every engine makes wait for each other.
    revision = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_personal(self) -> bool:
        return self.personal_to_id is not None


class Membership(Row, SpendLimits):
    """A user's place in an organization, and what they may spend of a team's credits."""

    class Role(models.TextChoices):
        OWNER = "OWNER"
        ADMIN = "ADMIN"
        MEMBER = "MEMBER"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)
    from_issuer = models.BooleanField(
        null=True, editable=False, help_text="Whether the identity provider gave it, and may take it away."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}"


class Invitation(Row):
    """An open invitation of an address into a team. The row goes when it is accepted, withdrawn or replaced."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    # Who had the address when it was invited: they see the invitation, and answer it without the mailed code.
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Membership.Role.choices, default=Membership.Role.MEMBER)
    token_digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the mailed code.")
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "email"], name="one_invitation_per_address")]

    def __str__(self) -> str:
        return f"{self.email} into {self.organization}"
