"""Models of credentials other than passwords: authenticator apps, recovery codes, passkeys and identities at an issuer."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts.models.users import User
from aichat.core.database.models import Row


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
