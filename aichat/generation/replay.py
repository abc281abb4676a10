"""A generation under an Idempotency-Key: its answer is recorded as it goes out, and stored by the commit that charges."""

from dataclasses import replace

from django.http import HttpRequest

from accounts.authentication import Caller
from aichat import db, lifecycle, rest, tracing
from aichat.errors import ApiError
from aichat.generation import chat as generation
from aichat.generation.call import Call, Completed, Ending, Event, Failed, Form, Hear, Result
from aichat.idempotency import leases
from aichat.idempotency.claims import Answer, Claim, claim, key_of


async def begin(request: HttpRequest, caller: Caller) -> "Recording | Answer | None":
    """None without a key; the stored answer when there is one; else what records the answer to come.

    Raises `InvalidRequest`, `IdempotencyConflict`, `IdempotencyInProgress`.
    """
    key = key_of(request)
    if key is None:
        return None
    claimed = await db.run(claim, caller, key, request)
    return claimed if isinstance(claimed, Answer) else Recording(claimed)


class Recording:
    """The claim of one request, and the events of its answer so far."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.parts: list[bytes] = []
        self.headers: dict[str, str] = {}
        leases.held.add(claim)

    def of(self, call: Call, form: Form) -> tuple[Call, Form]:
        """The same call and form, recorded."""
        return replace(call, seal=Seal(self, call, form)), RecordedForm(self, form)

    async def generate(self, call: Call, hear: Hear) -> Ending:
        try:
            return await generation.generate(call, hear)
        except BaseException:
            await self.free()
            raise
        finally:
            leases.held.discard(self.claim)

    async def free(self) -> None:
        """For a true retry, unless the answer was stored after all."""
        leases.held.discard(self.claim)
        await lifecycle.finish(db.run(self.claim.free))


class RecordedForm:
    """A form that keeps what it encodes."""

    def __init__(self, recording: Recording, form: Form) -> None:
        self.recording, self.form = recording, form
        self.whole, self.encode_error = form.whole, form.encode_error

    def headers(self, event: Event) -> dict[str, str]:
        self.recording.headers = self.form.headers(event)
        return self.recording.headers

    def encode(self, event: Event) -> bytes:
        part = self.form.encode(event)
        self.recording.parts.append(part)
        return part


class Seal:
    """Runs inside the settling transaction, and may run again: stores what was delivered and how it ended."""

    def __init__(self, recording: Recording, call: Call, form: Form) -> None:
        self.recording, self.call, self.form = recording, call, form

    def __call__(self, result: Result, error: ApiError | None) -> None:
        self.recording.claim.complete(self.stream(result, error) if self.call.stream else self.whole(result, error))

    def stream(self, result: Result, error: ApiError | None) -> Answer:
        last = self.form.encode(Failed(error, result) if error else Completed(result))
        return Answer(200, b"".join([*self.recording.parts, last]), rest.EVENT_STREAM, self.recording.headers)

    def whole(self, result: Result, error: ApiError | None) -> Answer:
        if error:
            return Answer(error.status, rest.json_bytes(error.body(tracing.request_id())))
        body, headers = self.form.whole(result)
        return Answer(200, body, headers=headers)
