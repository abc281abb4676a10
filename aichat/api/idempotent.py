"""A generation under an Idempotency-Key: its answer is recorded as it goes out, and stored by the commit that charges."""

from dataclasses import replace

from django.http import HttpRequest

from accounts.authentication import Caller
from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import responses, sse
from aichat.generation import pipeline as generation
from aichat.generation.request import (
    Call,
    Completed,
    Ending,
    EventSink,
    Failed,
    GenerationEvent,
    ResponseFormat,
    Result,
)
from aichat.idempotency import renewal
from aichat.idempotency.keys import Answer, KeyClaim, claim_key, key_of


async def begin(request: HttpRequest, caller: Caller) -> "Recording | Answer | None":
    """None without a key; the stored answer when there is one; else what records the answer to come.

    Raises `InvalidRequest`, `IdempotencyConflict`, `IdempotencyInProgress`.
    """
    key = key_of(request)
    if key is None:
        return None
    claimed = await executor.run(claim_key, caller, key, request)
    return claimed if isinstance(claimed, Answer) else Recording(claimed)


class Recording:
    """The claim of one request, and the events of its answer so far."""

    def __init__(self, claim: KeyClaim) -> None:
        self.claim = claim
        self.parts: list[bytes] = []
        self.headers: dict[str, str] = {}
        renewal.held.add(claim)

    def of(self, call: Call, form: ResponseFormat) -> tuple[Call, ResponseFormat]:
        """The same call and form, recorded."""
        return replace(call, seal=Seal(self, call, form)), RecordedForm(self, form)

    async def generate(self, call: Call, hear: EventSink) -> Ending:
        try:
            return await generation.generate(call, hear)
        except BaseException:
            await self.free()
            raise
        finally:
            renewal.held.discard(self.claim)

    async def free(self) -> None:
        """For a true retry, unless the answer was stored after all."""
        renewal.held.discard(self.claim)
        await lifecycle.finish(executor.run(self.claim.free))


class RecordedForm:
    """A form that keeps what it encodes."""

    def __init__(self, recording: Recording, form: ResponseFormat) -> None:
        self.recording, self.form = recording, form
        self.whole, self.encode_error = form.whole, form.encode_error

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        self.recording.headers = self.form.headers(event)
        return self.recording.headers

    def encode(self, event: GenerationEvent) -> bytes:
        part = self.form.encode(event)
        self.recording.parts.append(part)
        return part


class Seal:
    """Runs inside the settling transaction, and may run again: stores what was delivered and how it ended."""

    def __init__(self, recording: Recording, call: Call, form: ResponseFormat) -> None:
        self.recording, self.call, self.form = recording, call, form

    def __call__(self, result: Result, error: ApiError | None) -> None:
        self.recording.claim.complete(self.stream(result, error) if self.call.stream else self.whole(result, error))

    def stream(self, result: Result, error: ApiError | None) -> Answer:
        last = self.form.encode(Failed(error, result) if error else Completed(result))
        return Answer(200, b"".join([*self.recording.parts, last]), sse.EVENT_STREAM, self.recording.headers)

    def whole(self, result: Result, error: ApiError | None) -> Answer:
        if error:
            return Answer(error.status, responses.json_bytes(error.body(tracing.request_id())))
        body, headers = self.form.whole(result)
        return Answer(200, body, headers=headers)
