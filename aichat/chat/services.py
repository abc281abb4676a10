"""Conversations: the messages that are sent upstream, and the rows saved with an answer."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext

from accounts.authentication import Caller
from aichat.catalog.snapshot import ModelInfo
from aichat.chat import attachments, sharing
from aichat.chat.models import Attachment, Conversation, Feedback, Message
from aichat.chat.turns import Turn
from aichat.core.database.statements import NewRow
from aichat.core.errors import InvalidRequest, NotFound
from aichat.core.telemetry import product_events
from aichat.generation.charging import tokens
from aichat.generation.request import Result
from aichat.usage.models import UsageRecord

TITLE_LENGTH = 80
TOKENS_OF_A_FILE = 2_500  # of a picture or some pages, about: it decides only how much of the history is left out


def with_history(
    messages: list[dict[str, Any]], history: list[dict[str, Any]], model: ModelInfo, max_tokens: int
) -> list[dict[str, Any]]:
    """The messages with as much of the history, before the last of them, as the context window holds.

    The oldest turns are left out first. The kept history begins with a user's turn, as providers expect.
    """
    room = model.context_window - max_tokens - sum(map(_most_likely, messages))
    kept: list[dict[str, Any]] = []
    for turn in reversed(history):
        room -= _most_likely(turn)
        if room < 0:
            break
        kept.insert(0, turn)
    while kept and kept[0]["role"] != Message.Role.USER:
        kept.pop(0)
    return [*messages[:-1], *kept, messages[-1]]


def _most_likely(turn: dict[str, Any]) -> int:
    """Tokens of a turn, with what an estimate may miss on top."""
    content = turn["content"]
    if isinstance(content, str):
        return tokens.estimate_text(content) * 6 // 5 + tokens.MOST_TOKENS_OF_A_FRAME
    texts = [part["text"] for part in content if part["type"] == "text"]
    files = (len(content) - len(texts)) * TOKENS_OF_A_FILE
    return tokens.estimate_texts(texts) * 6 // 5 + files + tokens.MOST_TOKENS_OF_A_FRAME


def turn_saver(turn: Turn, system: str | None) -> Callable[[Result], list[NewRow]]:
    """A function that returns the rows of a turn: its question, if that is new, and its answer.

    The transaction that settles the request calls the function, perhaps more than once. `system` is the system prompt that
    the request gives the conversation; None leaves the conversation's.
    """
    conversation = turn.conversation
    pictures: list[Attachment] = []  # of the answer, with the same IDs in every run

    def rows_to_save(result: Result) -> list[NewRow]:
        now = timezone.now()
        conversation.updated_at = now
        # Only what the request itself changes: somebody may have renamed the conversation while the answer was written.
        changes = {} if system is None else {"system": system}
        if not turn.is_new and not Conversation.objects.filter(pk=conversation.pk).update(updated_at=now, **changes):
            return []  # deleted meanwhile
        if result.images and not pictures:
            pictures.extend(attachments.drawn(result.images, conversation))
        turn.pictures[:] = [attachments.facts(picture) for picture in pictures]
        common = {
            "conversation_id": conversation.pk,
            "request_id": result.request_id,
            "created_at": now,
            "owner_id": conversation.user_id,
        }
        question = {
            "id": turn.question_id,
            "parent_id": turn.parent_id,
            "role": "user",
            "content": turn.question,
            "reasoning": "",
            "attachments": turn.attachments or None,
            "model": "",
            "provider": "",
            "finish_reason": "",
        }
        answer = {
            "id": turn.answer_id,
            "parent_id": turn.question_id,
            "role": "assistant",
            "content": result.text.replace("\0", ""),  # which PostgreSQL can't store
            "reasoning": result.reasoning.replace("\0", ""),
            "attachments": turn.pictures or None,
            "model": result.model,
            "provider": result.provider,
            "finish_reason": result.finish_reason or "",
        }
        messages: list[NewRow] = [(Message, answer | common)]
        if turn.attachments:
            attachments.attach(turn.attachments, conversation.pk)
        if pictures:
            Attachment.objects.bulk_create(pictures)
        if not turn.is_another_answer:
            messages.insert(0, (Message, question | common))
        return [(Conversation, vars(conversation)), *messages] if turn.is_new else messages

    return rows_to_save


def new_conversation(caller: Caller, message: str, system: str) -> Conversation:
    """A conversation that is not saved yet: its row is inserted with the first answer."""
    first_line = " ".join(message.split())
    title = first_line if len(first_line) <= TITLE_LENGTH else first_line[: TITLE_LENGTH - 1] + "…"
    return Conversation(organization=caller.organization, user=caller.user, title=title, system=system)


def charges(caller: Caller, messages: Iterable[Message]) -> dict[str, int]:
    """Return what the caller paid for these messages, in microcredits by request ID.

    A request ID that a client chose for several requests is left out: nobody knows which of them a message belongs to.
    """
    ids = {message.request_id for message in messages if message.request_id}
    paid = UsageRecord.objects.filter(request_id__in=ids, user=caller.user, final=True)
    found: dict[str, list[int]] = {}
    for request_id, charged in paid.values_list("request_id", "charged"):
        found.setdefault(request_id, []).append(charged)
    return {request_id: amounts[0] for request_id, amounts in found.items() if len(amounts) == 1}


def ratings(caller: Caller, messages: Iterable[Message]) -> dict[UUID, int]:
    """The caller's own ratings of these messages: 1 or -1 by message."""
    rows = Feedback.objects.filter(message_id__in=[message.pk for message in messages], user=caller.user)
    return dict(rows.values_list("message_id", "rating"))


def rate(caller: Caller, message_id: UUID, rating: int, comment: str) -> Feedback:
    """Save the caller's rating of an answer in their conversation. Raises `NotFound`, `InvalidRequest`."""
    message = Message.objects.select_related("conversation").filter(id=message_id).first()
    if message is None or not sharing.conversations_of(caller).filter(id=message.conversation_id).exists():
        raise NotFound()
    if message.role != Message.Role.ASSISTANT:
        raise InvalidRequest(gettext("Only answers can be rated."))
    records = UsageRecord.objects.filter(
        request_id=message.request_id, organization=caller.organization, user=caller.user, final=True
    )
    experiment, variant = records.values_list("experiment", "variant").first() or ("", "")
    feedback, _ = Feedback.objects.update_or_create(
        message=message,
        defaults={
            "organization": caller.organization,
            "user": caller.user,
            "rating": rating,
            "comment": comment,
            "model": message.model,
            "experiment": experiment,
            "variant": variant,
            "created_at": timezone.now(),
        },
    )
    product_events.emit(
        product_events.FeedbackGiven(
            user=caller.user.pk,
            organization=caller.organization.pk,
            model=message.model,
            rating=rating,
            experiment=experiment,
            variant=variant,
        )
    )
    return feedback
