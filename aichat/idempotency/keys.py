"""Claiming an Idempotency-Key, completing it, and replaying what was answered.

A request with a key first claims the key (one commit). The answer is stored in the commit that charges; a failure that
charged nothing frees the key; an attempt whose process died loses the key when its lease runs out.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from accounts.authentication import Caller
from aichat.core.database import clock, transactions
from aichat.core.errors import ApiError, InvalidRequest
from aichat.idempotency.canonical import canonical_body
from aichat.idempotency.models import IdempotentRequest

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
BINARY = "\x01base64:"
State = IdempotentRequest.State


class IdempotencyConflict(ApiError):
    status, code = 409, "idempotency_conflict"
    message = "This Idempotency-Key was used for another request in the last 24 hours: make a new one."


class IdempotencyInProgress(ApiError):
    status, code = 409, "idempotency_in_progress"
    message = "The first request with this Idempotency-Key is still running: ask again shortly."

    def __init__(self) -> None:
        super().__init__(param=HEADER, retry_after=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is stored and replayed."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def stored_body(self) -> str:
        """The body as text; one that is no UTF-8 (audio) as base64 behind BINARY, which no other answer begins with."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return BINARY + base64.b64encode(self.body).decode()

    @classmethod
    def stored(cls, row: IdempotentRequest) -> "Answer":
        """The answer of a row that `stored_body` was written to."""
        is_binary = row.body.startswith(BINARY)
        body = base64.b64decode(row.body.removeprefix(BINARY)) if is_binary else row.body.encode()
        return cls(row.status, body, row.content_type, row.headers)

    def response(self) -> HttpResponse:
        headers = {"Content-Type": self.content_type, **self.headers, "Idempotent-Replayed": "true"}
        return HttpResponse(self.body, status=self.status, headers=headers)


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """The right of one attempt to answer a key. A later attempt at the same key has another `attempt`."""

    id: UUID
    attempt: UUID

    def _row(self) -> QuerySet[IdempotentRequest]:
        return IdempotentRequest.objects.filter(pk=self.id, attempt=self.attempt, state=State.RUNNING)

    def complete(self, answer: Answer) -> None:
        """Store the answer, inside the transaction that charges.

        Raises `IdempotencyInProgress` when another attempt has taken the key over: then this attempt must not charge.
        """
        if not self._row().update(
            state=State.ANSWERED,
            status=answer.status,
            content_type=answer.content_type,
            headers=dict(answer.headers),
            body=answer.stored_body,
        ):
            raise IdempotencyInProgress

    def free(self) -> None:
        """Free the key for a true retry, after nothing was charged. An answered key stays answered."""
        self._row().delete()

    def forget(self) -> None:
        """Free a key although its answer is stored: the work behind it failed and charged nothing, so a retry shall run."""
        IdempotentRequest.objects.filter(pk=self.id, attempt=self.attempt).delete()


def key_of(request: HttpRequest | Request) -> str | None:
    """The request's Idempotency-Key, or None. Raises `InvalidRequest` for a key of another form."""
    key = request.headers.get(HEADER)
    if key is not None and not VISIBLE_ASCII.fullmatch(key):
        raise InvalidRequest(f"{HEADER} is 1 to 255 visible ASCII characters.", param=HEADER)
    return key


def claim_key(caller: Caller, key: str, request: HttpRequest | Request) -> KeyClaim | Answer:
    """Claim the right to answer `key`, or find the stored answer.

    Raises `IdempotencyConflict` (the key was used for another request) and `IdempotencyInProgress` (the first is running).
    """
    what = f"{caller.user.pk}\n{request.method}\n{request.get_full_path()}\n".encode() + canonical_body(request)
    found = _Request(caller.organization.pk, key, hashlib.sha256(what).hexdigest())
    claim = KeyClaim(found.id, uuid4())
    try:
        return transactions.run_repeatable(_claim, found, claim)
    except IntegrityError:  # a twin was quicker
        return transactions.run_repeatable(_claim, found, claim)


@dataclass(frozen=True, slots=True)
class _Request:
    organization_id: UUID
    key: str
    fingerprint: str

    @property
    def id(self) -> UUID:
        """The row's primary key, made of organization and key: a stranger's same key is another row."""
        return UUID(bytes=hashlib.sha256(self.organization_id.bytes + self.key.encode()).digest()[:16])


def _claim(found: _Request, claim: KeyClaim) -> KeyClaim | Answer:
    now = clock.shared_now()
    fresh: dict[str, Any] = {
        "fingerprint": found.fingerprint,
        "state": State.RUNNING,
        "attempt": claim.attempt,
        "lease_until": now + timedelta(seconds=settings.IDEMPOTENCY_LEASE),
        "created_at": now,
        "expires_at": now + KEPT,
    }
    row = IdempotentRequest.objects.filter(pk=found.id).first()
    if row is None:
        IdempotentRequest.objects.create(pk=found.id, organization_id=found.organization_id, key=found.key, **fresh)
        return claim
    if row.attempt == claim.attempt:
        return claim  # an earlier run of this function had claimed the key, and the answer to its COMMIT was lost
    is_alive = row.state == State.ANSWERED or row.lease_until > now
    if is_alive and row.expires_at > now:
        if row.fingerprint != found.fingerprint:
            raise IdempotencyConflict(param=HEADER)
        if row.state == State.ANSWERED:
            return Answer.stored(row)
        raise IdempotencyInProgress
    ours = IdempotentRequest.objects.filter(
        pk=row.pk, attempt=row.attempt, state=row.state, lease_until=row.lease_until
    )
    if not ours.update(**fresh, body=""):
        raise IdempotencyInProgress  # its process lives after all, or somebody else took it over
    return claim


def forget_expired() -> int:
    """Delete the keys that expired (24 hours after they were claimed). Returns how many."""
    deleted, _ = IdempotentRequest.objects.filter(expires_at__lte=clock.shared_now()).delete()
    return deleted
