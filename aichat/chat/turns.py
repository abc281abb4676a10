"""Finds the place of a turn in its conversation, which is a tree: a question asked anew, or another answer, is a branch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from accounts.authentication import Caller
from aichat.chat import attachments, sharing
from aichat.chat.models import Conversation, Message
from aichat.chat.sharing import Access
from aichat.core.database.models import uuid7
from aichat.core.errors import InvalidRequest

LONGEST_HISTORY = 500  # messages of all branches; older ones are out of any model's reach long before


class Said(NamedTuple):
    """What a turn needs to know of an earlier message."""

    id: UUID
    parent_id: UUID | None
    role: str
    content: str
    attachments: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and the answer to come. `history` are the messages before the question, as OpenAI's, the oldest first."""

    conversation: Conversation
    question: str
    parent_id: UUID  # of the question
    is_new: bool = False  # the conversation begins with it
    is_another_answer: bool = False  # the question is stored already
    attachments: list[dict[str, Any]] = field(default_factory=list)  # of the question
    pictures: list[dict[str, Any]] = field(default_factory=list)  # of the answer, once it is stored
    asked: dict[str, Any] = field(default_factory=dict)  # the question as OpenAI's message
    history: list[dict[str, Any]] = field(default_factory=list)
    question_id: UUID = field(default_factory=uuid7)
    answer_id: UUID = field(default_factory=uuid7)


def first(caller: Caller, conversation: Conversation, question: str, files: Sequence[UUID] = ()) -> Turn:
    """The turn that begins a conversation. Raises `InvalidRequest`."""
    kept = attachments.chosen(caller, files, conversation)
    return Turn(
        conversation=conversation,
        question=question,
        parent_id=conversation.pk,
        is_new=True,
        attachments=kept,
        asked=_new(question, kept),
    )


def _new(question: str, kept: list[dict[str, Any]]) -> dict[str, Any]:
    return as_history([Said(uuid7(), None, Message.Role.USER, question, kept)])[0]


def find(
    caller: Caller,
    conversation_id: UUID,
    *,
    question: str | None,
    parent_id: UUID | None = None,
    replaces: UUID | None = None,
    files: Sequence[UUID] = (),
) -> Turn:
    """The turn with which the caller goes on: after `parent_id` or the latest message, or in place of `replaces`.

    Raises `NotFound`, `ReadOnly`, `InvalidRequest`.
    """
    conversation = sharing.find(caller, conversation_id, Access.WRITE)
    param, anchor = ("replaces", replaces) if replaces else ("parent_id", parent_id)
    branch = leading_to(conversation, anchor)
    if anchor is not None and not branch:
        raise InvalidRequest("The conversation has no such message.", param=param)
    is_another_answer = replaces is not None and branch[0].role == Message.Role.ASSISTANT
    if is_another_answer == (question is not None):
        told = "Leave it out: another answer is to the same question" if is_another_answer else "Write the question"
        raise InvalidRequest(f"{told}.", param="message")
    if is_another_answer:
        asked = branch[1] if len(branch) > 1 else None
        if asked is None:
            raise InvalidRequest("The question of this answer is out of reach.", param="replaces")
        return Turn(
            conversation=conversation,
            question=asked.content,
            question_id=asked.id,
            parent_id=conversation.pk,  # not used: the question is stored, with the parent that it has
            is_another_answer=True,
            history=as_history(branch[2:]),
            asked=as_history(branch[1:2])[0],
        )
    before = branch[1:] if replaces else branch
    kept = attachments.chosen(caller, files, conversation)
    return Turn(
        conversation=conversation,
        question=question or "",
        parent_id=before[0].id if before else conversation.pk,
        history=as_history(before),
        attachments=kept,
        asked=_new(question or "", kept),
    )


def leading_to(conversation: Conversation, message_id: UUID | None = None) -> list[Said]:
    """A message, by default the latest, and those that lead to it, the newest first; empty if the conversation lacks it."""
    rows = Message.objects.filter(conversation=conversation)
    if message_id is not None:
        rows = rows.filter(id__lte=message_id)
    newest_first = rows.order_by("-id").values_list("id", "parent_id", "role", "content", "attachments")[
        :LONGEST_HISTORY
    ]
    said = [Said(*row) for row in newest_first]
    if message_id is not None and (not said or said[0].id != message_id):
        return []
    return list(_branch(said))


def _branch(newest_first: Sequence[Said]) -> Iterator[Said]:
    """Yield the first message and those that lead to it: each one's `parent_id`, or the one before it where that is empty."""
    wanted = None
    for message in newest_first:
        if wanted is None or message.id == wanted:
            yield message
            wanted = message.parent_id


def as_history(newest_first: Sequence[Said]) -> list[dict[str, Any]]:
    """Messages with their files as OpenAI's, the oldest first."""
    files = attachments.parts([message.attachments or [] for message in newest_first])
    return [_as_message(message, files) for message in reversed(newest_first)]


def _as_message(message: Said, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = [files[one["id"]] for one in message.attachments or ()]
    if message.role != Message.Role.USER:  # no provider takes files in an answer
        own = [part for part in own if part["type"] == "text"]
    content: Any = [{"type": "text", "text": message.content}, *own] if own else message.content
    return {"role": message.role, "content": content}
