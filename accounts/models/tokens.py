"""The bearer tokens that requests carry: login tokens and API keys."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from knox.models import AbstractAuthToken, AuthTokenManager
from knox.settings import knox_settings

from accounts.models.limits import RATE, SpendLimits
from aichat.core.database import clock
from aichat.core.database.models import SavesChanges


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def usable(self) -> "AccessTokenQuerySet":
        """Return the tokens that are neither revoked nor expired."""
        now = clock.shared_now()
        return self.filter(revoked_at=None).filter(models.Q(expiry=None) | models.Q(expiry__gt=now))

    def api_keys(self) -> "AccessTokenQuerySet":
        return self.filter(kind=AccessToken.Kind.API_KEY)


class AccessTokenManager(AuthTokenManager.from_queryset(AccessTokenQuerySet)):  # type: ignore[misc]
    """Knox's `create(user, expiry=…, prefix=…)` → `(row, secret)`; the secret is never stored."""

    def create(self, *args: Any, **fields: Any) -> "tuple[AccessToken, str]":
        """Make a token that ends after `expiry`, a duration (None: never; by default that of a login)."""
        lasts = fields.get("expiry", knox_settings.TOKEN_TTL)
        if lasts is not None:  # Knox adds it to this host's clock, and the token ends by the database's
            fields["expiry"] = lasts + (clock.shared_now() - timezone.now())
        made: tuple[AccessToken, str] = super().create(*args, **fields)
        return made


class Scope(models.TextChoices):
    """A scope allows an API key one use. `manage` allows everything that neither generates nor reads."""

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
        "accounts.Organization", null=True, blank=True, on_delete=models.CASCADE, related_name="access_tokens"
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
        """Return whether an API key has any limit. Such a key manages nothing (`accounts/permissions.py`).

        The end that a rotation set is no limit: until then the key goes on as it was.
        """
        return bool(
            (self.expiry is not None and not self.ends_by_rotation)
            or self.has_spend_limit
            or self.rate_limit
            or self.allowed_models
            or self.allowed_ips
            or self.scopes
        )

    @property
    def has_spend_limit(self) -> bool:
        return self.spend_limit is not None or super().has_spend_limit

    @property
    def stable_id(self) -> uuid.UUID:
        """Return the ID under which the key and those that replace it count: usage, spending and rate are one for all."""
        return self.replaced_by or self.id

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expiry is None or self.expiry > now)

    def revoke(self) -> None:
        """Revoke the token from the next request on. The row stays, so that usage can still name the key."""
        self.revoked_at = timezone.now()
        self.save(update_fields=["revoked_at"])
