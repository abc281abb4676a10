"""Who may decide for an organization how it pays and what it is told."""

from django.utils.translation import gettext

from accounts import teams
from accounts.authentication import Caller
from accounts.models import Membership, Organization
from aichat.core.errors import PermissionDenied


def managed_by(caller: Caller) -> Organization:
    """The organization that the caller acts for. Raises `PermissionDenied` for its mere members."""
    if teams.membership_in(caller, caller.organization.pk).role == Membership.Role.MEMBER:
        raise PermissionDenied(gettext("Owners and admins of a team see and set this."))
    return caller.organization
