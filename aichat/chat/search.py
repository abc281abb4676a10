"""Finds words in the messages of a person's conversations, by an index that has the owner beside the words.

So the work of a search grows with what the person has written, not with what everybody has. SQLite has an FTS5 table that
triggers keep right, PostgreSQL a GIN index over a function of owner and text, MongoDB a text index that begins with the
owner. Migration 0010 makes them; a message is in the index once it has its `owner_id`.
"""

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from aichat.chat.models import Conversation, Message
from aichat.core.database.batches import column_by_key

MOST_WORDS = 10  # of a query; further ones are left out
MOST_HITS = 500  # messages that one search looks at
MOST_SHARED = 50  # conversations of others that one search looks into
SHORTEST_BEGINNING = 3  # letters: a shorter word is found whole only
AROUND = 70  # characters shown before and after a hit
FILL_SECONDS = 300  # of one run of `index_waiting`
FILL_ROWS = 200  # in one commit
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Found:
    """The words of a search, and by conversation the newest message that has them all."""

    words: Sequence[str]
    hits: dict[UUID, UUID]

    def shown(self, conversations: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the newest hit of each of these conversations, by its ID: `{"message_id", "snippet"}`."""
        hits = {key: self.hits[key] for key in conversations if key in self.hits}
        rows = Message.objects.filter(pk__in=list(hits.values())) if hits else Message.objects.none()
        texts = dict(rows.values_list("pk", "content"))
        return {
            conversation: {"message_id": message, "snippet": snippet(texts[message], self.words)}
            for conversation, message in hits.items()
            if message in texts  # not deleted meanwhile
        }


NOTHING = Found((), {})


def of(owner_id: UUID, query: str) -> Found:
    """Search the messages of all conversations of a person, whatever the organization."""
    words = words_of(query)
    return Found(words, _newest(_ask(owner_id, words)))


def among(conversations: QuerySet[Conversation], query: str) -> Found:
    """Search the messages of these conversations of several people: of the `MOST_SHARED` that were used last."""
    words, by_owner = words_of(query), dict[UUID, list[UUID]]()
    newest = conversations.order_by("-updated_at").values_list("user_id", "pk")[:MOST_SHARED]
    for owner, conversation in newest:
        by_owner.setdefault(owner, []).append(conversation)
    return Found(words, _newest(hit for owner, some in by_owner.items() for hit in _ask(owner, words, some)))


def _ask(owner_id: UUID, words: Sequence[str], within: Sequence[UUID] = ()) -> Iterable[tuple[UUID, UUID]]:
    """Conversation and message of each hit, among all conversations of the owner or within some."""
    rows = _rows(owner_id, words, within) if words else ()
    return [(_as_id(conversation), _as_id(message)) for message, conversation in rows]


def _newest(hits: Iterable[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
    return dict(sorted(hits))  # the IDs of messages are in order of time, and the last one of a conversation stays


def plain(text: str) -> str:
    """The text in small letters and without accents, as the indexes have it."""
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()


def words_of(query: str) -> list[str]:
    """The words of a query, each once; everything between words, quotes and wildcards too, only separates them."""
    return list(dict.fromkeys(WORD.findall(plain(query))))[:MOST_WORDS]


def _as_id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


# --- Each engine's question: rows of message and conversation, the newest first --------------------------------------


def in_sqlite(owner_id: UUID, words: Sequence[str], within: Sequence[UUID]) -> tuple[str, list[Any]]:
    wanted = " AND ".join(f'content : "{word}"{"*" if _may_begin(word) else ""}' for word in words)
    some = f" AND message.conversation_id IN ({', '.join(['%s'] * len(within))})" if within else ""
    text = (
        "SELECT message._id, message.conversation_id FROM chat_search "  # noqa: S608
        "JOIN chat_search_row AS row ON row.id = chat_search.rowid "
        f"JOIN chat_message AS message ON message._id = row.message_id WHERE chat_search MATCH %s{some} "
        "ORDER BY chat_search.rowid DESC LIMIT %s"
    )
    return text, [f'owner : "{owner_id.hex}" AND {wanted}', *(each.hex for each in within), MOST_HITS]


def in_postgresql(owner_id: UUID, words: Sequence[str], within: Sequence[UUID]) -> tuple[str, list[Any]]:
    wanted = " & ".join([f"'{owner_id.hex}'", *(f"'{word}'{':*' if _may_begin(word) else ''}" for word in words)])
    some = " AND conversation_id = ANY(%s)" if within else ""
    # Found first, then sorted: else the planner may walk everybody's messages from the newest on.
    text = (
        "WITH found AS MATERIALIZED (SELECT _id, conversation_id FROM chat_message "  # noqa: S608
        "WHERE owner_id IS NOT NULL "
        f"AND chat_message_words(owner_id, content) @@ %s::tsquery{some}) "
        "SELECT _id, conversation_id FROM found ORDER BY _id DESC LIMIT %s"
    )
    return text, [wanted, *([list(within)] if within else []), MOST_HITS]


def in_mongodb(owner_id: UUID, words: Sequence[str], within: Sequence[UUID]) -> Any:
    wanted: dict[str, Any] = {"owner_id": owner_id.hex, "$text": {"$search": " ".join(f'"{word}"' for word in words)}}
    if within:
        wanted["conversation_id"] = {"$in": [each.hex for each in within]}
    return _documents().find(wanted, {"conversation_id": 1}).sort("_id", -1).limit(MOST_HITS)


def _documents() -> Any:
    return connection.get_collection(Message._meta.db_table)  # type: ignore[attr-defined]


def _rows(owner_id: UUID, words: Sequence[str], within: Sequence[UUID]) -> Any:
    if connection.vendor == "mongodb":
        return _read(in_mongodb(owner_id, words, within))
    with connection.cursor() as cursor:
        cursor.execute(*{"sqlite": in_sqlite, "postgresql": in_postgresql}[connection.vendor](owner_id, words, within))
        return cursor.fetchall()


def _read(cursor: Any) -> list[tuple[Any, Any]]:
    """The rows of a cursor of MongoDB's driver, whose errors become Django's."""
    from django_mongodb_backend.query import wrap_database_errors

    return [(row["_id"], row["conversation_id"]) for row in wrap_database_errors(list)(cursor)]


def _may_begin(word: str) -> bool:
    """Whether words that begin with this one are found, too."""
    return len(word) >= SHORTEST_BEGINNING


# --- What is shown of a hit -------------------------------------------------------------------------------------------


def snippet(content: str, words: Sequence[str]) -> list[dict[str, Any]]:
    """The text around the first of the words, in pieces: `{"text", "marked"}`. Plain text, whatever it looks like."""
    hits = (match.span() for match in WORD.finditer(content) if plain(match[0]).startswith(tuple(words)))
    first = next(hits, (0, 0))
    begin, end = max(0, first[0] - AROUND), max(first[0] + 2 * AROUND, first[1])
    pieces, at = [("…" if begin else "", False)], begin
    for start, stop in chain([first], takewhile(lambda hit: hit[1] <= end, hits)):
        pieces += [(content[at:start], False), (content[start:stop], True)]
        at = stop
    pieces += [(content[at:end], False), ("…" if end < len(content) else "", False)]
    return [{"text": re.sub(r"\s+", " ", text), "marked": marked} for text, marked in pieces if text]


# --- Messages that are not in the index yet ---------------------------------------------------------------------------


def waiting() -> Iterable[tuple[Any, Any]]:
    """Some messages without an owner, and their conversations; found by an index that has no others."""
    if connection.vendor == "mongodb":  # its planner uses no index for the null of Django
        return _read(_documents().find({"owner_id": None}, {"conversation_id": 1}).limit(FILL_ROWS))
    return Message.objects.filter(owner_id=None).values_list("pk", "conversation_id")[:FILL_ROWS]


def index_waiting() -> int:
    """Give messages without an owner theirs, which puts them into the index; returns how many. Commits are small.

    Messages that were written before there was the index have none.
    """
    deadline, filled = time.monotonic() + FILL_SECONDS, 0
    while time.monotonic() < deadline:
        rows = [(_as_id(message), _as_id(conversation)) for message, conversation in waiting()]
        if not rows:
            break
        owners = column_by_key(Conversation, {conversation for _, conversation in rows}, "user_id")
        by_owner: dict[UUID, list[UUID]] = {}
        for message, conversation in rows:
            # A message whose conversation is gone gets the conversation's ID as owner, so that it is not found here again.
            by_owner.setdefault(owners.get(conversation, conversation), []).append(message)
        for owner, messages in by_owner.items():
            filled += Message.objects.filter(pk__in=messages, owner_id=None).update(owner_id=owner)
    return filled
