"""Idempotency-Key for DRF views whose work is one transaction (a grant of credits)."""

from collections.abc import Callable

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import calling
from aichat.core.database import transactions
from aichat.core.web import responses
from aichat.idempotency.keys import Answer, KeyClaim, claim_key, key_of


def once(request: Request, work: Callable[[], Response]) -> Response | HttpResponse:
    """The response of `work`, or the stored answer when the request's Idempotency-Key was answered before.

    What `work` writes and the stored answer are one commit. When `work` raises, nothing was written and the key is free.
    """
    key = key_of(request)
    if key is None:
        return work()
    claimed = claim_key(calling(request), key, request)
    if isinstance(claimed, Answer):
        return claimed.response()
    try:
        return transactions.run_atomic(_work, claimed, work)
    except BaseException:
        claimed.free()
        raise


def _work(claim: KeyClaim, work: Callable[[], Response]) -> Response:
    response = work()
    claim.complete(Answer(response.status_code, responses.json_bytes(response.data)))
    return response
