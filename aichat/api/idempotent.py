"""Generations with an Idempotency-Key: the answer is recorded as it is sent, and stored by the commit that charges."""

from dataclasses import replace

from django.http import HttpRequest

from accounts.authentication import Caller
from aichat.core.background import lifecycle
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import responses, sse
from aichat.generation.request import (
    Completed,
    Ending,
    EventSink,
    Failed,
    Generate,
    GenerationEvent,
    GenerationRequest,
    ResponseFormat,
    Result,
)
from aichat.idempotency import renewal
from aichat.idempotency.keys import Answer, KeyClaim, key_of


async def begin(request: HttpRequest, caller: Caller) -> "Recording | Answer | None":
    """Claim the request's Idempotency-Key: None without one, the stored answer of a repeat, else a recording.

    Raises `InvalidRequest`, `IdempotencyConflict`, `IdempotencyInProgress`.
    """
    key = key_of(request)
    if key is None:
        return None
    claimed = await renewal.claim(caller, key, request)
    return claimed if isinstance(claimed, Answer) else Recording(claimed)


class Recording:
    """The key claimed by one request, and the encoded events of its answer so far."""

    def __init__(self, claim: KeyClaim) -> None:
        self.claim = claim
        self.parts: list[bytes] = []
        self.headers: dict[str, str] = {}

    def of(
        self, generation_request: GenerationRequest, response_format: ResponseFormat
    ) -> tuple[GenerationRequest, ResponseFormat]:
        """The request and format, changed so that the answer is recorded and stored."""
        return replace(
            generation_request, store_replay=ReplayStore(self, generation_request, response_format)
        ), RecordedFormat(self, response_format)

    def around(self, generate: Generate) -> Generate:
        """`generate`, freeing the key when it raises and ending the renewal of the claim in any case."""

        async def generate_recorded(generation_request: GenerationRequest, sink: EventSink | None) -> Ending:
            try:
                return await generate(generation_request, sink)
            except BaseException:
                await self.free()
                raise
            finally:
                renewal.held.discard(self.claim)

        return generate_recorded

    async def free(self) -> None:
        """Free the key, so that a retry generates again, unless the answer was stored after all."""
        await lifecycle.finish(renewal.free(self.claim))


class RecordedFormat:
    """A response format that keeps what it encodes for the replay."""

    def __init__(self, recording: Recording, response_format: ResponseFormat) -> None:
        self.recording, self.response_format = recording, response_format
        self.whole, self.encode_error = response_format.whole, response_format.encode_error

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        self.recording.headers = self.response_format.headers(event)
        return self.recording.headers

    def encode(self, event: GenerationEvent) -> bytes:
        part = self.response_format.encode(event)
        self.recording.parts.append(part)
        return part


class ReplayStore:
    """Stores what was delivered and how it ended. Runs inside the settling transaction, perhaps more than once."""

    def __init__(
        self, recording: Recording, generation_request: GenerationRequest, response_format: ResponseFormat
    ) -> None:
        self.recording, self.generation_request, self.response_format = recording, generation_request, response_format

    def __call__(self, result: Result, error: ApiError | None) -> None:
        self.recording.claim.complete(
            self.stream(result, error) if self.generation_request.stream else self.whole(result, error)
        )

    def stream(self, result: Result, error: ApiError | None) -> Answer:
        last = self.response_format.encode(Failed(error, result) if error else Completed(result))
        return Answer(200, b"".join([*self.recording.parts, last]), sse.EVENT_STREAM, self.recording.headers)

    def whole(self, result: Result, error: ApiError | None) -> Answer:
        if error:
            return Answer(error.status, responses.json_bytes(error.body(tracing.request_id())))
        body, headers = self.response_format.whole(result)
        return Answer(200, body, headers=headers)
