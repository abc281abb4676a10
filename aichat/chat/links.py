"""Links that show a conversation to everybody who has them, up to the message that was the last when they were made.

A link's token is its row's ID with a signature: nobody can guess it, the database does not hold it, and its owner can read
it again. What is written later is not shown. To end a link, delete its row.
"""

from typing import Any
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.utils.translation import gettext

from accounts.tenancy import lock
from aichat.chat import turns
from aichat.chat.models import Conversation, ConversationLink
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest, NotFound
from aichat.flags import evaluation
from aichat.flags.features import SHARED_LINKS

MOST_LINKS = 20  # of one conversation
signer = Signer(sep=".", salt="aichat.chat.links")


def make(conversation: Conversation, message_id: UUID | None) -> tuple[ConversationLink, bool]:
    """The link that shows a conversation up to a message, or the latest, and whether it is new. Raises `InvalidRequest`."""
    branch = turns.leading_to(conversation, message_id)
    if not branch:
        raise InvalidRequest(gettext("The conversation has no such message."), param="message_id")
    return transactions.run_atomic(_make, conversation, branch[0].id)


def _make(conversation: Conversation, shown: UUID) -> tuple[ConversationLink, bool]:
    lock(conversation.organization_id)  # of two requests at the same moment the second finds the first one's link
    made = ConversationLink.objects.filter(conversation=conversation)
    if (found := made.filter(message_id=shown).first()) is not None:
        return found, False
    if made.count() >= MOST_LINKS:
        text = gettext("A conversation has at most %(most)s links: end one.")
        raise InvalidRequest(text % {"most": MOST_LINKS}, param="message_id")
    return ConversationLink.objects.create(conversation=conversation, message_id=shown), True


def token_of(link: ConversationLink) -> str:
    """The signed name of a link, good as long as its row is there."""
    return signer.sign(link.pk.hex)


def page(token: str) -> dict[str, Any]:
    """What a link shows: title, time and the texts of its branch. Raises `NotFound`, also when its owner can't log in."""
    try:
        pk = UUID(signer.unsign(token))
    except (BadSignature, ValueError):
        raise NotFound() from None
    link = ConversationLink.objects.select_related("conversation__user").filter(pk=pk).first()
    if link is None or not link.conversation.user.is_active:
        raise NotFound()
    evaluation.require(SHARED_LINKS, link.conversation.user)
    branch = turns.leading_to(link.conversation, link.message_id)
    return {
        "title": link.conversation.title,
        "created_at": link.created_at,
        "messages": [{"role": message.role, "content": message.content} for message in reversed(branch)],
    }
