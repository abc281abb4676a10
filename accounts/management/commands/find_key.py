import re
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from knox.crypto import hash_token
from knox.settings import CONSTANTS

from accounts import services
from accounts.models import AccessToken

SECRET = re.compile(r"sk-[0-9A-Za-z]{4,200}", re.ASCII)
DIGEST = re.compile(r"\b[0-9a-f]{128}\b", re.ASCII)
LONGEST = 10_000_000  # characters of a text
MOST = 20  # keys that are shown for one beginning


class Command(BaseCommand):
    help = (
        "Say whose API keys stand in a text: a whole key, its beginning, its digest, or any leaked text with keys in it"
        " (- reads it from the standard input). A key is printed by its first characters only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("text", nargs="+")
        parser.add_argument("--revoke", action="store_true", help="Revoke those of which the text has the whole key.")

    def handle(self, *args: Any, **options: Any) -> None:
        text = " ".join(sys.stdin.read(LONGEST) if part == "-" else part for part in options["text"])
        wanted = dict.fromkeys([*SECRET.findall(text), *DIGEST.findall(text)])
        if not wanted:
            raise CommandError("There is no API key in this text: a key begins with sk-.")
        found = {row.pk: (row, is_whole) for one in wanted for row, is_whole in found_by(one)}
        if not found:
            raise CommandError(f"None of the {len(wanted)} in this text is a key of this server.")
        for row, is_whole in found.values():
            if options["revoke"] and is_whole and row.revoked_at is None:
                services.revoke(row)
            self.stdout.write(described(row, is_whole))


def found_by(text: str) -> Iterator[tuple[AccessToken, bool]]:
    """Yield the keys that a text names, each with whether the text is the whole key (or its digest)."""
    keys = AccessToken.objects.api_keys().select_related("user", "organization")
    whole = keys.filter(pk=hash_token(text) if text.startswith("sk-") else text).first()
    if whole is not None:
        yield whole, True
    elif text.startswith("sk-"):
        beginning = text[: CONSTANTS.TOKEN_KEY_LENGTH]
        for row in keys.filter(token_key__startswith=beginning).order_by("-created")[:MOST]:
            yield row, False


def described(row: AccessToken, is_whole: bool) -> str:
    if row.revoked_at is not None:
        state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}"
    else:
        state = "in use" if row.is_usable(timezone.now()) else "expired"
    used = f"last used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "no known use"
    match = "the whole key" if is_whole else "its beginning only"
    return (
        f"{row.prefix}… {row.name!r} of {row.user.email} for {row.organization} (id {row.id}): {state}, {used}; {match}"
    )
