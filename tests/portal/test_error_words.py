"""Errors that are worded in English alone: the portal has words for them by their code, in the reader's language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.urls import get_resolver

from accounts.revocations import CredentialRevoked
from aichat.core.errors import ApiError
from aichat.generation.errors import as_api_error
from aichat.providers.errors import AttemptOutcome, ProviderError
from tests.test_architecture import PACKAGES
from tools import messages

SCRIPT = messages.SCRIPTS / "errors.js"
# Parts whose errors people meet in the portal, by folder or file.
ASKED = [
    "accounts", "credits", "aichat/chat", "aichat/images", "aichat/idempotency", "aichat/api/stops.py",
    "aichat/catalog/routing.py", "aichat/flags/evaluation.py", "aichat/generation",
]  # fmt: skip
# What only programs do, or operators read; or the code or field is no constant, and has its words.
FOR_PROGRAMS = re.compile(
    r"The system prompt of a shared|"
    r"This API key belongs to another organization|This is an API key|This account is disabled|This token can't be|"
    r"{HEADER} is|.*(does not call functions|answer in JSON on demand|does no {request.kind}|reads at most|can't be asked)|"
    r"The conversation has no such message|{gettext\(SoleOwner|The refunds of a charge|A wallet holds at most|"
    r".*(takes texts|answers {|takes at most|speaks at its own speed)|The audio is longer|"
    r"Send the body as it is|This payment is not known|The signature is missing"
)


def worded() -> set[str]:
    """The codes, alone or with a reason or field, that the portal has words for."""
    table = re.search(r"const WORDS = {(.*?)^};", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    assert table
    return set(re.findall(r'^    "?([a-z_ ]+?)"?: ', table[1], re.MULTILINE))


def kinds(kind: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    """Every class of errors that the URL conf loads."""
    yield kind
    for further in kind.__subclasses__():
        yield from kinds(further)


def classes() -> Iterator[tuple[set[str], str]]:
    """The keys and the message of each class of ours."""
    assert get_resolver().url_patterns
    for kind in kinds():
        message = vars(kind).get("message")
        if message and kind.__module__.split(".")[0] in PACKAGES:
            yield {kind.code, f"{kind.code} {getattr(kind, 'reason', '')}"}, message


def raised(path: Path) -> Iterator[tuple[set[str], str]]:
    """The keys and the text of each error that a file makes with words that no translation can reach."""
    by_name = {kind.__name__: kind for kind in kinds()}
    for node in ast.walk(ast.parse(path.read_text())):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in by_name and node.args
        ):
            continue
        text = node.args[0]
        if isinstance(text, ast.Constant | ast.JoinedStr):
            given = {word.arg: str(word.value.value) for word in node.keywords if isinstance(word.value, ast.Constant)}
            code = given.get("code") or by_name[node.func.id].code
            yield {str(code), f"{code} {given.get('param')}", f"{code} {given.get('reason')}"}, ast.unparse(text)


def files() -> Iterator[Path]:
    for name in ASKED:
        path = messages.ROOT / name
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def test_every_error_that_people_meet_is_translated_or_has_words_of_the_portal() -> None:
    known, done = worded(), messages.words(messages.read("django", "de"))
    said = [(keys, text) for keys, text in classes() if not done.get(text)]
    said += [
        (keys, re.sub(r"^f?['\"]", "", text))
        for path in files()
        if "management" not in path.parts
        for keys, text in raised(path)
    ]
    assert len(said) > 30, "the test could not fail"
    assert [text for keys, text in said if not keys & known and not FOR_PROGRAMS.match(text)] == []


def test_errors_of_one_code_say_their_reason() -> None:
    refused = as_api_error(ProviderError(AttemptOutcome.UNSUPPORTED, "no sound here", param="audio"))
    assert refused.body("r1")["error"]["reason"] == "refused_by_provider"
    assert refused.body("r1")["error"]["provider_message"] == "no sound here"
    assert CredentialRevoked().body("r1")["error"]["reason"] == "revoked"
