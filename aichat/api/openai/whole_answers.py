"""The format of answers that are one body and never a stream of events."""

from collections.abc import Callable

from aichat.api.headers import answer_headers
from aichat.core.errors import ApiError
from aichat.generation.request import GenerationEvent, Result


class WholeAnswer:
    """Encodes a result by `write`, with the headers of every generated answer, as JSON or as `content_type()`."""

    def __init__(
        self, write: Callable[[Result], bytes], content_type: Callable[[], str] = lambda: "application/json"
    ) -> None:
        self.write, self.content_type = write, content_type

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        return self.write(result), {"Content-Type": self.content_type(), **answer_headers(result)}

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        raise NotImplementedError("this answer is never streamed")

    def encode(self, event: GenerationEvent) -> bytes:
        raise NotImplementedError("this answer is never streamed")

    def encode_error(self, error: ApiError) -> bytes:
        raise NotImplementedError("this answer is never streamed")
