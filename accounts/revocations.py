"""Tells which callers may no longer call, for work that goes on long after its caller was authenticated."""

from collections.abc import Iterable, Iterator, Sequence

from accounts.authentication import Caller, InvalidApiKey
from accounts.models import AccessToken, Membership, User

BATCH = 500  # IDs in one statement


class Ended(InvalidApiKey):
    """A caller that was let in may no longer call; the error object says why in `reason`."""

    reason = ""

    def __init__(self) -> None:
        super().__init__(reason=self.reason)


class AccountDeactivated(Ended):
    reason = "account_deactivated"
    message = "This account was deactivated, so this was ended. What was delivered is charged."


class CredentialRevoked(Ended):
    reason = "revoked"
    message = "The key or login that began this was revoked, so this was ended. What was delivered is charged."


class MembershipEnded(Ended):
    reason = "membership_ended"
    message = "You left the organization that pays for this, so this was ended. What was delivered is charged."


def find_revoked(callers: Iterable[Caller]) -> dict[Caller, InvalidApiKey]:
    """Return the callers whose user, token or membership has ended since they were authenticated, each with its error.

    An expired token counts as valid: work that began in time may be finished. The cost is two statements for each
    `BATCH` callers, and a third when logins act for teams; call it outside the event loop.
    """
    every = list(set(callers))
    batches = (every[start : start + BATCH] for start in range(0, len(every), BATCH))
    return {caller: error for batch in batches for caller, error in _revoked_of(batch)}


def _revoked_of(callers: Sequence[Caller]) -> Iterator[tuple[Caller, InvalidApiKey]]:
    tokens = {caller.token.pk for caller in callers if caller.token}
    users = {caller.user.pk for caller in callers}
    valid = set(AccessToken.objects.filter(pk__in=tokens, revoked_at=None).values_list("pk", flat=True))
    active = set(User.objects.filter(pk__in=users, is_active=True).values_list("pk", flat=True))
    members = _members({caller for caller in callers if _needs_membership(caller)})
    for caller in callers:
        if caller.user.pk not in active:
            yield caller, AccountDeactivated()
        elif caller.token and caller.token.pk not in valid:
            yield caller, CredentialRevoked()
        elif _needs_membership(caller) and caller not in members:
            yield caller, MembershipEnded()


def _needs_membership(caller: Caller) -> bool:
    """Return whether a login acts for a team. A member's keys for a team are revoked together with the membership."""
    return caller.api_key is None and not caller.organization.is_personal


def _members(callers: set[Caller]) -> set[Caller]:
    if not callers:
        return set()
    places = Membership.objects.filter(
        user_id__in={caller.user.pk for caller in callers},
        organization_id__in={caller.organization.pk for caller in callers},
    )
    pairs = set(places.values_list("user_id", "organization_id"))
    return {caller for caller in callers if (caller.user.pk, caller.organization.pk) in pairs}
