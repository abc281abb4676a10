"""The words of messages: an index that is empty at first, so that no table is locked for long.

`index_messages`, a periodic task, then gives earlier messages their owner in small commits, and so puts them into it.
"""

from typing import Any

from django.db import migrations, models
from django.db.migrations.state import StateApps

SQLITE = [
    # FTS5 finds a row by a number that VACUUM leaves as it is; the table's own rowid it does not.
    "CREATE TABLE chat_search_row (id INTEGER PRIMARY KEY, message_id char(32) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE chat_search USING fts5"
    "(owner, content, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2')",
]
PUT = """
    INSERT INTO chat_search_row (message_id) SELECT new._id WHERE new.owner_id IS NOT NULL;
    INSERT INTO chat_search (rowid, owner, content)
        SELECT id, new.owner_id, new.content FROM chat_search_row WHERE message_id = new._id;
"""
TAKE = """
    INSERT INTO chat_search (chat_search, rowid, owner, content)
        SELECT 'delete', id, old.owner_id, old.content FROM chat_search_row WHERE message_id = old._id;
    DELETE FROM chat_search_row WHERE message_id = old._id;
"""
SQLITE += [
    f"CREATE TRIGGER chat_message_put AFTER INSERT ON chat_message BEGIN {PUT} END",
    f"CREATE TRIGGER chat_message_take AFTER DELETE ON chat_message BEGIN {TAKE} END",
    f"CREATE TRIGGER chat_message_change AFTER UPDATE OF owner_id, content ON chat_message BEGIN {TAKE} {PUT} END",
]
# In small letters, without accents and ASCII punctuation (the parser would keep addresses and numbers together); bounded, for
# a tsvector of more than 1 MB would refuse the message. No statistics of it: ANALYZE would compute it for 30,000 rows.
POSTGRESQL = [
    r"""
    CREATE FUNCTION chat_message_words(owner uuid, content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT array_to_tsvector(ARRAY[replace(owner::text, '-', '')]) || to_tsvector('pg_catalog.simple', regexp_replace(
            CASE WHEN octet_length(content) = length(content) THEN left(content, 100000) ELSE
                left(regexp_replace(normalize(left(content, 100000), NFKD), '[\u0300-\u036f]', '', 'g'), 100000) END,
            '[!-/:-@\[-`{-~]+', ' ', 'g'
        ))
    $$
    """,
    "CREATE INDEX CONCURRENTLY messages_by_words ON chat_message USING gin (chat_message_words(owner_id, content)) "
    "WHERE owner_id IS NOT NULL",
    "ALTER INDEX messages_by_words ALTER COLUMN 1 SET STATISTICS 0",
]


def make(apps: StateApps, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor == "mongodb":
        keys = [("owner_id", 1), ("content", "text")]
        connection.get_collection("chat_message").create_index(
            keys,
            name="messages_by_words",
            default_language="none",
            language_override="no_language",
            partialFilterExpression={"owner_id": {"$gt": ""}},  # a condition that the planner knows an owner to meet
        )
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}.get(connection.vendor, ()):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    atomic = False  # PostgreSQL makes the index beside the writers

    dependencies = [
        ("chat", "0009_attachments"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="owner_id",
            field=models.UUIDField(
                editable=False,
                help_text="The person whose conversation it is: search finds no message without.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("owner_id", None)), fields=["owner_id"], name="messages_without_owner"
            ),
        ),
        migrations.RunPython(make, migrations.RunPython.noop),
    ]
