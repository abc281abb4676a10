"""Changes of API keys in use. Each holds for the next request made with the key, in every process, as a revocation does."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.utils.translation import gettext_noop

from accounts import caller_cache, tenancy
from accounts.models import AccessToken, User
from accounts.services import API_KEY_PREFIX, KEY_LIMITS, record_key
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.errors import InvalidRequest, NotFound


class KeyReplaced(InvalidRequest):
    message = gettext_noop("This key was rotated: change the one that replaced it.")


def change_api_key(row: AccessToken, changes: dict[str, Any], actor: User) -> AccessToken:
    """Change the named columns of a key: what is not named stays. Holds for the next request, as a revocation does.

    Raises `NotFound` for a key that was revoked or rotated meanwhile, `KeyReplaced` for one that was rotated before.
    """
    return transactions.run_atomic(_change_api_key, row, changes, actor)


def _change_api_key(row: AccessToken, changes: dict[str, Any], actor: User) -> AccessToken:
    if row.replaced_by:
        raise KeyReplaced()
    before = {name: getattr(row, name) for name in changes}
    values = {name: (before[name], new) for name, new in changes.items() if before[name] != new}
    current = AccessToken.objects.filter(pk=row.pk, revoked_at=None, replaced_by=None)
    if changes and not current.update(**changes):
        raise NotFound()
    caller_cache.changed(row.user_id, row.organization_id)
    if values:
        record_key(actor, row, audit_log.CHANGED, values)
    row.refresh_from_db()
    return row


def rotate_api_key(row: AccessToken, *, overlap: timedelta, actor: User) -> tuple[AccessToken, str]:
    """Give a key a new secret; it keeps its ID, limits and counts. The old secret lives for the overlap.

    The old secret's row gets another ID, by which it can be revoked earlier. Raises `NotFound` for a key that was
    revoked or rotated meanwhile, `KeyReplaced` for one that was rotated before.
    """
    return transactions.run_atomic(_rotate_api_key, row, overlap, actor)


def _rotate_api_key(row: AccessToken, overlap: timedelta, actor: User) -> tuple[AccessToken, str]:
    if row.replaced_by:
        raise KeyReplaced()
    assert row.organization_id is not None  # every API key has one
    tenancy.lock(row.organization_id)  # else a member's removal at the same moment could miss the new row
    now, key_id = clock.shared_now(), row.id
    current = AccessToken.objects.filter(pk=row.pk, revoked_at=None, replaced_by=None)
    if not current.update(replaced_by=key_id, id=uuid4()):
        raise NotFound()
    old = AccessToken.objects.get(pk=row.pk)
    if not overlap:
        ending: dict[str, Any] = {"revoked_at": now}
    elif old.expiry is None:
        ending = {"expiry": now + overlap, "ends_by_rotation": True}
    else:
        ending = {"expiry": min(old.expiry, now + overlap)}
    AccessToken.objects.filter(pk=old.pk).update(**ending)
    new, secret = AccessToken.objects.create(
        user=old.user,
        expiry=None,
        prefix=API_KEY_PREFIX,
        id=key_id,
        kind=AccessToken.Kind.API_KEY,
        organization=old.organization,
        **{name: getattr(old, name) for name in ("name", *KEY_LIMITS)},
    )
    if old.expiry is not None:
        new.expiry = old.expiry
        new.save(update_fields=["expiry"])
    caller_cache.changed(old.user_id, old.organization_id)
    values = {"prefix": (old.prefix, new.prefix)}
    reason = f"overlap {int(overlap.total_seconds())} s"
    record_key(actor, new, audit_log.CHANGED, values, act=audit_log.ROTATED, reason=reason)
    return new, secret
