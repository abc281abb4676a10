"""Teams by the groups of the OpenID Connect issuer (OIDC_GROUPS_CLAIM, OIDC_GROUPS_MAP).

| the issuer says | what becomes of it |
| --- | --- |
| a group that the map names | a membership in the map's team, made with the team at first need; of several the highest role |
| the group no more | the membership ends with the person's keys for the team, if it came from the issuer |
| a membership that somebody gave here | it stays as it is, whatever the issuer says |

A team is found by `Organization.issuer_team`, never by its name, which anybody can give to a team of theirs.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError

from accounts import tenancy
from accounts.models import AccessToken, Membership, Organization, User
from aichat.core.admin import audit_log
from aichat.core.database import transactions

Wanted = dict[str, str]  # the role by team
ROLES = list(Membership.Role)  # the highest first
REASON = "identity provider"


def follow(user: User, groups: Any) -> None:
    """Give the user the memberships of the groups that a token names, and end those that it names no more."""
    wanted = _wanted(groups)
    if _is_so(user, wanted):
        return
    try:
        transactions.run_atomic(_follow, user, wanted)
    except IntegrityError:  # another login made the team or the membership at the same moment
        transactions.run_atomic(_follow, user, wanted)


def _wanted(groups: Any) -> Wanted:
    said = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    places = [settings.OIDC_GROUPS_MAP[str(group)] for group in said if str(group) in settings.OIDC_GROUPS_MAP]
    return dict(sorted(places, key=lambda place: ROLES.index(Membership.Role(place[1])), reverse=True))


def _is_so(user: User, wanted: Wanted) -> bool:
    """Return whether the memberships are as the issuer wants them. Every token asks this, and almost always they are."""
    rows = Membership.objects.filter(user=user).values_list("organization__issuer_team", "role", "from_issuer")
    places = list(rows)
    theirs = {team: role for team, role, from_issuer in places if from_issuer}
    given_here = {team for team, _, from_issuer in places if not from_issuer}
    return theirs == {team: role for team, role in wanted.items() if team not in given_here}


def _follow(user: User, wanted: Wanted) -> None:
    for member in Membership.objects.filter(user=user, from_issuer=True).select_related("organization"):
        if member.organization.issuer_team not in wanted:
            _end(user, member)
    for team, role in wanted.items():
        organization = Organization.objects.filter(issuer_team=team).first()
        if organization is None:
            organization = Organization.objects.create(name=team, issuer_team=team)
        tenancy.lock(organization.pk)
        known = Membership.objects.filter(user=user, organization=organization).first()
        if known is None:
            made = Membership.objects.create(user=user, organization=organization, role=role, from_issuer=True)
            audit_log.record(user, made, audit_log.ADDED, {"role": (None, role)}, reason=REASON)
        elif known.from_issuer and known.role != role:
            before, known.role = known.role, role
            known.save(update_fields=["role"])
            audit_log.record(user, known, audit_log.CHANGED, {"role": (before, role)}, reason=REASON)


def _end(user: User, member: Membership) -> None:
    """End a membership, also that of a team's last owner: its administrators are the issuer's business."""
    tenancy.lock(member.organization_id)
    audit_log.record(user, member, audit_log.DELETED, {"role": (member.role, None)}, reason=REASON)
    member.delete()
    for key in AccessToken.objects.filter(user=user, organization_id=member.organization_id, revoked_at=None):
        key.revoke()


def said(claims: Mapping[str, Any], found: Any, *, is_login: bool) -> bool:
    """Return whether a token says which groups there are. A login's token without the claim says that there are none.

    A token for the API may have fewer claims; one with too many groups for it names a place to fetch them (`_claim_names`).
    """
    return found is not None or (is_login and settings.OIDC_GROUPS_CLAIM not in claims.get("_claim_names", {}))
