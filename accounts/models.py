"""Who may call: users with a role, the organizations that own things, and the tokens requests carry."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac
from knox.models import AbstractAuthToken, AuthTokenManager

from aichat.core.config import env
from aichat.core.database.models import Row, SavesChanges

RATE = RegexValidator(rf"\A{env.RATE.pattern}\Z", "Write N/sec, N/min, N/hour or N/day, such as 60/min.")


class Role(models.TextChoices):
    """USER < SUBSCRIBER < ADMIN, in the order written here; this is the only place that knows the order."""

    USER = "USER"
    SUBSCRIBER = "SUBSCRIBER"
    ADMIN = "ADMIN"

    def covers(self, other: "Role") -> bool:
        """Whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class SpendLimits(models.Model):
    """Microcredits that may be spent in a UTC day and month; None is no limit. `credits/spending_limits.py` enforces it."""

    spend_limit_day = models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Microcredits a day; empty: no limit."
    )
    spend_limit_month = models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Microcredits a month; empty: no limit."
    )

    class Meta:
        abstract = True


class UserManager(BaseUserManager["User"]):
    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """E-mail addresses are compared in lower case, so Alice@ and alice@ are one person."""
        return (email or "").strip().lower()

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        confirmed = {"email_confirmed_at": timezone.now(), **fields}
        return self.create_user(email, password, **{**confirmed, "role": Role.ADMIN})

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalize_email(username))


class User(Row, SpendLimits, AbstractBaseUser, PermissionsMixin):
    """A person. The role says everything: an ADMIN is Django's staff and superuser, nobody else is."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=150, blank=True)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.USER, db_index=True)
    is_active = models.BooleanField(
        default=True, db_index=True, help_text="Instead of deleting a user: their history stays."
    )
    analytics_consent = models.BooleanField(
        null=True, blank=True, help_text="Whether their product events may leave the house; empty: they did not say."
    )
    # null: not chosen. Servers of the version before write rows without it.
    language = models.CharField(max_length=10, null=True, blank=True, help_text="Of pages and mails.")  # noqa: DJ001
    email_confirmed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the person last proved that they read this address."
    )
    mfa_enabled_at = models.DateTimeField(
        "second factor since",
        null=True,
        blank=True,
        editable=False,
        help_text="Since when logging in needs a code, too.",
    )
    deletion_requested_at = models.DateTimeField(null=True, blank=True, editable=False, db_index=True)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Nothing personal is left since.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    # Written first by changes that must see each other, which every engine makes wait (see `services.change_user`).
    revision = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    USERNAME_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        return self.email

    def save(self, *args: Any, **how: Any) -> None:
        """Save the row; with a new password all login tokens end. (A password hashed anew at a login is no new one.)"""
        is_known = not self._state.adding and "_stored" in self.__dict__
        has_new_password = is_known and "password" in self.changed_columns()
        is_rehashed = getattr(self, "_password", None) is None and self.has_usable_password()
        super().save(*args, **how)
        if has_new_password and not is_rehashed:
            self.end_logins()

    def end_logins(self, but: "AccessToken | None" = None) -> None:
        """Revoke the user's login tokens from the next request on, except for one; API keys stay."""
        tokens = AccessToken.objects.filter(user=self, kind=AccessToken.Kind.LOGIN, revoked_at=None)
        if but is not None:
            tokens = tokens.exclude(pk=but.pk)
        tokens.update(revoked_at=timezone.now())

    def take_deletion_back(self) -> bool:
        """Keep the account, because its person logged in; returns whether it was to be deleted."""
        marked = User.objects.filter(pk=self.pk, is_active=True, deletion_requested_at__isnull=False)
        return bool(marked.update(deletion_requested_at=None))

    def get_session_auth_hash(self) -> str:
        """What a session of the admin site is bound to: the password, and the second factor since it is on."""
        bound: str = super().get_session_auth_hash()
        if self.mfa_enabled_at is None:
            return bound
        return salted_hmac("accounts.User.session", f"{bound}|{self.mfa_enabled_at}", algorithm="sha256").hexdigest()

    @property
    def may_administer(self) -> bool:
        """Whether the user is an administrator, with a second factor where ADMIN_MFA requires one.

        The second factor of people who can't log in by password is their issuer's business.
        """
        if not self.has_role(Role.ADMIN):
            return False
        if settings.ADMIN_MFA != "required" or self.mfa_enabled_at is not None:
            return True
        return not (settings.PASSWORD_LOGIN and self.has_usable_password())

    @property
    def is_staff(self) -> bool:
        return self.may_administer

    # A property instead of PermissionsMixin's column: a second truth beside `role` could disagree with it.
    @property
    def is_superuser(self) -> bool:  # type: ignore[override]
        return self.has_role(Role.ADMIN)

    @property
    def email_confirmed(self) -> bool:
        """Whether the person has proved that they read mail to their address."""
        return self.email_confirmed_at is not None

    def has_role(self, role: Role) -> bool:
        """Whether the user's role covers `role`."""
        return Role(self.role).covers(role)

    def get_short_name(self) -> str:
        return self.name or self.email


class SecondFactor(Row):
    """The authenticator app of a person. It protects their logins while `User.mfa_enabled_at` is set."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="second_factor")
    sealed_secret = models.CharField(max_length=255, editable=False)
    # Of the last code that was used, so that none is good twice: seconds since 1970 / 30.
    last_step = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"authenticator app of {self.user}"


class RecoveryCode(Row):
    """A code that is good once when the authenticator app is lost. The row goes when the code is used."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of person and code.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"recovery code of {self.user}"


class Passkey(Row):
    """A passkey of a person, for one host name: a second factor, or a login without password."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=100)
    host = models.CharField(max_length=253, editable=False)
    credential_id = models.CharField(max_length=1400, unique=True, editable=False)
    public_key = models.TextField(editable=False, help_text="In base64, with the ID and the authenticator's model.")
    sign_count = models.BigIntegerField(default=0, editable=False)
    # When the last challenge was made that it answered, so that none is good twice: microseconds since 1970.
    last_challenge = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return f"passkey of {self.user}"


class ExternalIdentity(Row):
    """A person as an OpenID Connect issuer knows them. To let somebody into an account they have here already, an
    administrator gives their identity that user."""

    LONGEST_SUBJECT: ClassVar[int] = 255  # https://openid.net/specs/openid-connect-core-1_0.html#IDToken

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=LONGEST_SUBJECT)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "external identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_identity_per_subject")]

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"


class Organization(Row, SpendLimits):
    """A tenant: owns the wallet, keys, conversations, images and usage. Every user has a personal one."""

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


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def usable(self) -> "AccessTokenQuerySet":
        """Neither revoked nor expired."""
        now = timezone.now()
        return self.filter(revoked_at=None).filter(models.Q(expiry=None) | models.Q(expiry__gt=now))

    def api_keys(self) -> "AccessTokenQuerySet":
        return self.filter(kind=AccessToken.Kind.API_KEY)


class AccessTokenManager(AuthTokenManager.from_queryset(AccessTokenQuerySet)):  # type: ignore[misc]
    """Knox's `create(user, expiry=…, prefix=…)` → `(row, secret)`; the secret is never stored."""


class Scope(models.TextChoices):
    """What an API key may be used for. `manage` is everything that neither generates nor reads."""

    CHAT = "chat"
    IMAGES = "images"
    EMBEDDINGS = "embeddings"
    AUDIO = "audio"
    READ = "read"
    MANAGE = "manage"


class AccessToken(SavesChanges, SpendLimits, AbstractAuthToken):  # type: ignore[misc]
    """A bearer token: a login token of a user, or an API key of a user in one organization.

    django-rest-knox keeps only the SHA-512 digest (the primary key) and the first 15 characters (`token_key`).
    """

    class Kind(models.TextChoices):
        LOGIN = "LOGIN", "login token"
        API_KEY = "API_KEY", "API key"

    id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.LOGIN, editable=False)
    name = models.CharField(max_length=100, blank=True)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="access_tokens"
    )
    rate_limit = models.CharField(
        max_length=20,
        blank=True,
        validators=[RATE],
        default="",
        db_default="",
        help_text="Of this key alone, such as 60/min. Empty: the role's.",
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False, db_index=True)
    spend_limit = models.BigIntegerField(
        null=True, blank=True, help_text="Microcredits the key may ever spend; empty: no limit."
    )
    allowed_models = models.JSONField(
        default=list, db_default=[], blank=True, help_text="Slugs of the models it may use; empty: all."
    )
    allowed_ips = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="Addresses and networks it may be used from; empty: everywhere.",
    )
    scopes = models.JSONField(
        default=list, db_default=[], blank=True, help_text="What it may be used for; empty: everything."
    )
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To the minute.")
    # Of a key that was rotated: the ID that it had, which its successor has now. Spending counts there.
    replaced_by = models.UUIDField(null=True, blank=True, editable=False, db_index=True)
    ends_by_rotation = models.BooleanField(default=False, db_default=False, editable=False)

    objects: ClassVar[AccessTokenManager] = AccessTokenManager()

    class Meta:
        indexes = [
            models.Index(fields=["user", "kind", "-created"], name="tokens_of_user"),
            models.Index(fields=["kind", "-created"], name="tokens_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.get_kind_display()} ({self.prefix}…)"

    @property
    def prefix(self) -> str:
        return str(self.token_key)

    @property
    def is_limited(self) -> bool:
        """Whether an API key has any limit: then it manages nothing (`accounts/permissions.py`).

        The end that a rotation set is no limit: until then the key goes on as it was.
        """
        return bool(
            (self.expiry is not None and not self.ends_by_rotation)
            or self.spend_limit is not None
            or self.spend_limit_day is not None
            or self.spend_limit_month is not None
            or self.rate_limit
            or self.allowed_models
            or self.allowed_ips
            or self.scopes
        )

    @property
    def stable_id(self) -> uuid.UUID:
        """The ID under which the key and those that replace it count: usage, spending and rate are one for all."""
        return self.replaced_by or self.id

    @property
    def effective_scopes(self) -> list[str]:
        """The scopes that the key has, in the order of `Scope`."""
        return [scope.value for scope in Scope if not self.scopes or scope in self.scopes]

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expiry is None or self.expiry > now)

    def revoke(self) -> None:
        """Takes effect with the next request; the row stays, so that usage can still name the key."""
        self.revoked_at = timezone.now()
        self.save(update_fields=["revoked_at"])
