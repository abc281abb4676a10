"""Models of callers: users have a role, organizations own rows and pay, tokens authenticate requests."""

from accounts.models.credentials import ExternalIdentity, Passkey, RecoveryCode, SecondFactor
from accounts.models.limits import RATE, SpendLimits
from accounts.models.organizations import Invitation, Membership, Organization
from accounts.models.tokens import AccessToken, AccessTokenManager, AccessTokenQuerySet, Scope
from accounts.models.users import Role, User, UserManager

__all__ = [
    "RATE",
    "AccessToken",
    "AccessTokenManager",
    "AccessTokenQuerySet",
    "ExternalIdentity",
    "Invitation",
    "Membership",
    "Organization",
    "Passkey",
    "RecoveryCode",
    "Role",
    "Scope",
    "SecondFactor",
    "SpendLimits",
    "User",
    "UserManager",
]
