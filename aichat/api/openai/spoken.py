"""Streams speech: the pieces of audio go to the client as they come from the provider."""

import asyncio
from collections.abc import AsyncIterator, Callable

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from aichat.api.headers import answer_headers
from aichat.api.openai.whole_answers import WholeAnswer
from aichat.catalog.snapshot import ModelInfo
from aichat.core.background import lifecycle
from aichat.core.web import responses
from aichat.generation.request import Ending, Failed, GenerationRequest, Result
from aichat.generation.single_call import Performance
from aichat.providers.single_calls import SpeechAnswer

MakeCall = Callable[[Callable[[ModelInfo, int, bytes, str], None]], Performance[SpeechAnswer]]


class Spoken:
    """One speech on its way to its client, who gets the last byte once it is settled.

    A client that leaves, or that reads slowly, does not hold up the call: the audio is finished and billed. Where the
    provider breaks off, nothing is charged and the connection ends without its proper end.
    """

    def __init__(self, request: GenerationRequest, make_call: MakeCall) -> None:
        self.request = request
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()  # an empty one is the end
        self.headers: dict[str, str] = {}
        self.call = make_call(self.hear)

    def hear(self, model: ModelInfo, charge: int, piece: bytes, content_type: str) -> None:
        if not self.headers:
            result = Result(id=self.request.id, request_id=self.request.request_id, charged=charge)
            result.model, result.provider = model.slug, model.provider.slug
            own = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            self.headers = {**own, "Content-Type": content_type, **answer_headers(result)}
        self.pieces.put_nowait(piece)

    async def respond(self, answer: WholeAnswer) -> HttpResponseBase:
        """Respond with the pieces, or with `answer` where the audio came as one. Raises `ApiError` before the first piece."""
        work = asyncio.ensure_future(lifecycle.finish(self.call.perform(self.request, None)))
        work.add_done_callback(lambda _: self.pieces.put_nowait(b""))
        try:
            first = await self.pieces.get()
        except BaseException:
            work.cancel()  # the call itself goes on
            raise
        if first:
            return StreamingHttpResponse(self.until_settled(first, work), headers=self.headers)
        end = await work
        if isinstance(end, Failed):
            raise end.error
        body, headers = answer.whole(end.result)
        return responses.json_response(body, headers=headers)

    async def until_settled(self, piece: bytes, work: asyncio.Future[Ending]) -> AsyncIterator[bytes]:
        try:
            while piece:
                yield piece
                piece = await self.pieces.get()
            await work
        finally:
            work.cancel()
