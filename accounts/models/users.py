"""Users, each with one role."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.models.limits import SpendLimits
from accounts.models.tokens import AccessToken
from aichat.core.database.models import Row


class Role(models.TextChoices):
    """USER < SUBSCRIBER < ADMIN, in the order written here; this is the only place that knows the order."""

    USER = "USER"
    SUBSCRIBER = "SUBSCRIBER"
    ADMIN = "ADMIN"

    def covers(self, other: "Role") -> bool:
        """Return whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


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
    # Null: not chosen. During an upgrade, servers of the version before write rows without it.
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

    def end_logins(self, but: AccessToken | None = None) -> None:
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
        """Return the digest that binds admin sessions: it changes with the password and with a second factor turned on."""
        bound: str = super().get_session_auth_hash()
        if self.mfa_enabled_at is None:
            return bound
        return salted_hmac("accounts.User.session", f"{bound}|{self.mfa_enabled_at}", algorithm="sha256").hexdigest()

    @property
    def may_administer(self) -> bool:
        """Return whether the user is an administrator, with a second factor where ADMIN_MFA requires one.

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
        """Return whether the person has proved that they read mail to their address."""
        return self.email_confirmed_at is not None

    def has_role(self, role: Role) -> bool:
        """Return whether the user's role covers `role`."""
        return Role(self.role).covers(role)

    def get_short_name(self) -> str:
        return self.name or self.email
