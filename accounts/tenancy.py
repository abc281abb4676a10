"""The way to everything an organization owns. Views reach owned rows through here, so a stranger finds nothing."""

import uuid
from typing import Any, TypeVar

from django.db import IntegrityError, models
from django.db.models import F
from django.utils.translation import gettext

from accounts.models import Membership, Organization, User
from aichat.core.database import transactions
from aichat.core.errors import NotFound

M = TypeVar("M", bound=models.Model)


def personal_organization(user: User) -> Organization:
    """Return the user's own organization, made at first touch."""
    found = Organization.objects.filter(personal_to=user).first()
    if found:
        return found
    try:
        return transactions.run_atomic(_make_personal, user)
    except IntegrityError:  # a concurrent first touch made it
        return Organization.objects.get(personal_to=user)


def _make_personal(user: User) -> Organization:
    organization = Organization.objects.create(name=(user.name or user.email)[:150], personal_to=user)
    Membership.objects.create(organization=organization, user=user, role=Membership.Role.OWNER)
    return organization


def choose_organization(user: User, wanted: str = "") -> Organization:
    """Return the organization a login token acts for: the one named by its ID, else the personal one.

    Raises `NotFound` when the user is no member of the one named.
    """
    if not wanted:
        return personal_organization(user)
    membership = (
        Membership.objects.select_related("organization")
        .filter(user=user, organization_id=as_id(wanted, "X-Organization"))
        .first()
    )
    if membership is None:
        raise NotFound(gettext("You are not a member of the organization named by X-Organization."))
    return membership.organization


def lock(organization_id: uuid.UUID) -> None:
    """Make other changes of the organization (members, keys, shares) wait until this transaction's end, on every engine."""
    Organization.objects.filter(pk=organization_id).update(revision=F("revision") + 1)


def owned(rows: models.QuerySet[M], organization: Organization, row_id: object) -> M:
    """Return one row of the organization by ID. Raises `NotFound`, as for rows of others: the caller can't tell."""
    row = rows.filter(organization=organization, id=as_id(row_id)).first()
    if row is None:
        raise NotFound()
    return row


def as_id(value: Any, param: str | None = None) -> uuid.UUID:
    """Return a text from outside as an ID. Raises `NotFound` for a text that is no UUID."""
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
    except ValueError:
        raise NotFound(param=param) from None
