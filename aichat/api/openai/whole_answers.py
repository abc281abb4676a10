"""The format of answers that are one JSON body and never a stream."""

from collections.abc import Callable

from aichat.api.headers import answer_headers
from aichat.core.errors import ApiError
from aichat.generation.request import GenerationEvent, Result


class WholeAnswer:
    """Encodes a result by `write`, with the headers of every generated answer."""

    def __init__(self, write: Callable[[Result], bytes]) -> None:
        self.write = write

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        return self.write(result), answer_headers(result)

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        raise NotImplementedError("this answer is never streamed")

    def encode(self, event: GenerationEvent) -> bytes:
        raise NotImplementedError("this answer is never streamed")

    def encode_error(self, error: ApiError) -> bytes:
        raise NotImplementedError("this answer is never streamed")
