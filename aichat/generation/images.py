"""Draws pictures: asks one candidate model after another until one delivers, all within IMAGE_TOTAL_TIMEOUT seconds.

This module moves no credits. The image job that calls it reserves them before and settles them after.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from time import monotonic
from typing import Any, Generic, TypeVar

from django.conf import settings

from aichat.catalog.snapshot import ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.core.telemetry.spans import inside
from aichat.generation import circuit_breaker, key_ring
from aichat.generation.charging import plausibility, tokens
from aichat.generation.charging.plausibility import Bounds
from aichat.generation.spans import begin_turn, end_attempt
from aichat.providers.base import ImageAnswer, ImageRequest, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import IMAGE_ADAPTERS, image_adapter
from aichat.usage.models import UsageRecord

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class ImageAttempt:
    """One candidate's turn: its model, its place in the route (from 1), its outcome, its usage and its duration.

    `status` is an `AttemptOutcome` once the turn has ended. `billed` is what the provider bills us, `usage` the part of
    it for the pictures that were delivered. `source` and `reported` say how sure that is, as on a usage record. `seconds` is
    how long the provider took.
    """

    model: ModelInfo
    number: int
    status: str = ""
    usage: Usage = field(default_factory=Usage)
    source: str = UsageRecord.Source.EXACT
    reported: dict[str, Any] | None = None
    billed: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    span: Any = None  # while it is open, and spans are made


def able(candidates: Sequence[ModelInfo], size: str) -> list[ModelInfo]:
    """The candidates that can draw pictures of `size` ("WIDTHxHEIGHT"), in their order.

    Raises `InvalidRequest` naming `model` or `size` when the first candidate can't draw them.
    """
    if candidates[0].provider.kind not in IMAGE_ADAPTERS:
        raise InvalidRequest(f"{candidates[0].provider.slug} makes no pictures.", param="model")
    sizes = image_adapter(candidates[0].provider.kind).sizes
    if size not in sizes:
        raise InvalidRequest(f"{candidates[0].slug} draws {', '.join(sizes)}.", param="size")
    drawing = [model for model in candidates if model.provider.kind in IMAGE_ADAPTERS]
    return [model for model in drawing if size in image_adapter(model.provider.kind).sizes]


def most_it_can_cost(candidates: Sequence[ModelInfo], prompt: str, n: int) -> int:
    """The microcredits to reserve for `n` pictures: the price of the dearest candidate."""
    most_input = tokens.bound_text(prompt) * n
    return max(
        model.rates.charge(
            Usage(
                input_tokens=most_input,
                output_tokens=n * image_adapter(model.provider.kind).tokens_per_image,
                images=n,
            )
        )
        for model in candidates
        if model.rates
    )


@dataclass(slots=True)
class Drawing(Generic[T]):
    """The attempts that were made, and either the checked images of the last attempt or the error it ended with."""

    attempts: list[ImageAttempt] = field(default_factory=list)
    images: list[T] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def served(self) -> ImageAttempt:
        return self.attempts[-1]

    @property
    def charge(self) -> int:
        """Microcredits to charge for the delivered images; 0 when there are none."""
        rates = self.served.model.rates
        return rates.charge(self.served.usage) if self.images and rates else 0


async def draw(
    candidates: Sequence[ModelInfo],
    *,
    prompt: str,
    size: str,
    n: int,
    request_id: str,
    check: Callable[[bytes], T],
    confirm: Callable[[], Awaitable[None]],
) -> Drawing[T]:
    """Ask the candidates in order until one delivers at least one good image, or the time is over.

    `check` runs in a thread: it decodes one image, returns what the caller keeps of it, and raises `ProviderError` for
    bytes that are no image. `confirm` is awaited before each candidate is asked; its error ends the drawing. A
    provider's failure is returned as `Drawing.error`, not raised.
    """
    drawing: Drawing[T] = Drawing()
    deadline = monotonic() + settings.IMAGE_TOTAL_TIMEOUT
    circuits = await circuit_breaker.look(candidates)
    for number, (model, circuit) in enumerate(zip(candidates, circuits, strict=True), start=1):
        if monotonic() >= deadline:
            break
        await confirm()
        if not await circuit.admits():
            continue
        attempt = ImageAttempt(model, number)
        drawing.attempts.append(attempt)
        attempt.span = begin_turn(model, number, "image", request_id)
        started = monotonic()
        request = ImageRequest(
            model=model.upstream_name,
            prompt=prompt,
            size=size,
            n=n,
            request_id=request_id,
        )
        try:
            with inside(attempt.span):
                seconds = min(settings.IMAGE_ATTEMPT_TIMEOUT, deadline - started)
                drawing.images = await _attempt(attempt, request, seconds, check)
            attempt.status, drawing.error = AttemptOutcome.OK, None
            circuit.succeeded()
            return drawing
        except ProviderError as error:
            attempt.status, drawing.error = error.outcome, error
            logger.warning("%s failed: %s", model.provider.slug, error.outcome, extra={"model": model.slug})
            if not error.outcome.is_retryable:
                circuit.succeeded()  # a refusal proves that the provider works
                return drawing
            await circuit.failed(error)
        except BaseException:
            circuit.left()
            raise
        finally:
            attempt.seconds = monotonic() - started
            end_attempt(attempt)
    if drawing.error is None:
        wait = min(circuit.wait for circuit in circuits)
        drawing.error = ProviderError(AttemptOutcome.OVERLOADED, "left alone by its breaker", retry_after=wait)
    return drawing


async def _attempt(
    attempt: ImageAttempt, request: ImageRequest, seconds: float, check: Callable[[bytes], T]
) -> list[T]:
    """Ask one candidate and check its images; note its usage on `attempt`. Raises `ProviderError` when no image is good."""
    provider = attempt.model.provider
    try:
        async with asyncio.timeout(seconds):
            adapter = image_adapter(provider.kind)
            answer = await key_ring.ask(provider, lambda endpoint: adapter.images(request, endpoint))
    except TimeoutError:
        raise ProviderError(AttemptOutcome.TIMEOUT_ATTEMPT) from None
    meter(attempt, request, answer)
    good, problem = [], None
    for raw in answer.images[: request.n]:
        try:
            good.append(await asyncio.to_thread(check, raw))
        except ProviderError as error:
            problem = error
    if not good:
        raise problem or ProviderError(AttemptOutcome.EMPTY)
    attempt.usage = share(attempt.billed, len(good), max(answer.billed, len(good)))
    return good


def meter(attempt: ImageAttempt, request: ImageRequest, answer: ImageAnswer) -> None:
    """Write the usage to bill into the attempt: the reported figures where they are possible, else our estimate."""
    most = image_adapter(attempt.model.provider.kind).tokens_per_image
    metered = plausibility.meter(
        answer.report,
        Bounds(tokens.bound_text(request.prompt) * request.n, most * request.n),
        is_whole=True,
        count_input=lambda: tokens.estimate_text(request.prompt) * answer.billed,
        count_output=lambda: most * answer.billed,
    )
    rates = attempt.model.rates
    is_by_picture = rates is not None and not any((rates.price.output, rates.cost.output))
    attempt.source = UsageRecord.Source.EXACT if is_by_picture and not metered.reported else metered.source
    attempt.reported = metered.reported
    attempt.usage = attempt.billed = replace(metered.usage, images=answer.billed)


def share(usage: Usage, delivered: int, billed: int) -> Usage:
    """The part of the usage of `billed` pictures that `delivered` of them have; tokens are rounded up."""
    return Usage(
        input_tokens=ceil(usage.input_tokens * delivered / billed),
        output_tokens=ceil(usage.output_tokens * delivered / billed),
        cached_input_tokens=usage.cached_input_tokens * delivered // billed,
        reasoning_tokens=usage.reasoning_tokens * delivered // billed,
        images=delivered,
    )
