"""Reports a generation to measurements and product events, after its settlement is committed or it was refused."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

from accounts.authentication import Caller
from aichat.catalog.snapshot import ModelInfo
from aichat.core.telemetry import measurements, product_events, tracing
from aichat.generation.charging.settlement import Attempt
from aichat.generation.request import GenerationRequest
from aichat.providers.base import Usage
from aichat.usage.models import UsageRecord
from credits.services import Unaffordable
from credits.spending_limits import SpendLimitReached

logger = logging.getLogger(__name__)
CHAT = UsageRecord.Kind.CHAT.value


def chat_settled(request: GenerationRequest, attempts: Sequence[Attempt], charged: int) -> None:
    """Report each attempt of a settled chat, once its answer is sent. `charged` is in microcredits."""
    if attempts:
        tracing.after_answer(partial(_report, request, attempts, charged, monotonic()))


def _report(request: GenerationRequest, attempts: Sequence[Attempt], charged: int, ended: float) -> None:
    for attempt in attempts:
        is_final = attempt is attempts[-1]
        usage = attempt.usage or Usage()
        measurements.note(
            measurements.AttemptEnded(
                kind=request.kind,
                provider=attempt.model.provider.slug,
                model=attempt.model.slug,
                outcome=attempt.status,
                final=is_final,
                seconds=ended - attempt.started,
                first_token_seconds=attempt.first_token_at - attempt.started if attempt.first_token_at else None,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                charged=charged if is_final else 0,
                cached=attempt.cached,
                fallback=attempt.number > 1,
                source=attempt.source,
            )
        )
        if attempt.reported:
            implausible(request.caller.user.pk, request.caller.organization.pk, attempt.model, attempt.reported, usage)
    if request.kind == CHAT:
        product_events.emit(chat_event(request, attempts[-1], charged, ended))


def implausible(user: UUID, organization: UUID, model: ModelInfo, reported: Mapping[str, Any], usage: Usage) -> None:
    """Report figures of a provider that were not believed, and which ones the bill has instead."""
    facts = ", ".join(f"{name} {count}" for name, count in reported.items())
    logger.warning(
        "%s reported usage that can't be true", model.provider.slug, extra={"model": model.slug, "usage": facts}
    )
    product_events.emit(
        product_events.UsageImplausible(
            user=user,
            organization=organization,
            model=model.slug,
            provider=model.provider.slug,
            reported=facts,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )
    )


def chat_event(request: GenerationRequest, last: Attempt, charged: int, ended: float) -> product_events.ProductEvent:
    user, organization = request.caller.user.pk, request.caller.organization.pk
    model, provider = last.model.slug, last.model.provider.slug
    if last.status != "ok":
        return product_events.ChatFailed(
            user=user,
            organization=organization,
            model=model,
            provider=provider,
            outcome=str(last.status),
            charged=charged,
        )
    usage = last.usage or Usage()
    return product_events.ChatCompleted(
        user=user,
        organization=organization,
        model=model,
        provider=provider,
        streamed=request.stream,
        fallback=last.number > 1,
        cached=last.cached,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        charged=charged,
        latency_ms=round((ended - last.started) * 1000),
        experiment=request.treatment.experiment,
        variant=request.treatment.variant,
    )


def refused(caller: Caller, model: str, error: Unaffordable) -> None:
    """Report a reservation that the wallet or a spending limit refused."""
    user, organization = caller.user.pk, caller.organization.pk
    if isinstance(error, SpendLimitReached):
        product_events.emit(product_events.LimitHit(user=user, organization=organization, limit="spending"))
    else:
        product_events.emit(
            product_events.RefusedForCredits(
                user=user, organization=organization, model=model, affordable=error.affordable
            )
        )
