"""Two languages: every word that people read is marked and translated, and each person reads theirs."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from django.conf import settings as django_settings
from django.core import mail as django_mail
from django.test import Client

from aichat.chat.models import Conversation
from aichat.core.outbound import mail
from tests.conftest import PASSWORD, Actor
from tools import messages

LANGUAGES = [code for code, _ in django_settings.LANGUAGES if code != "en"]
SHOWN = {"title", "placeholder", "aria-label", "alt"}  # attributes that people read
NAMES = re.compile(r"aichat|https://|[\w., ]+@[\w., @]+")
NOT_READ = {"snippets.js"}  # what people type
TAGGED = re.compile(r"{% blocktranslate.*?{% endblocktranslate %}|{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
# A text of a script that people would read: it begins with a capital letter and has a space in it.
IN_SCRIPT = re.compile(r"""(\bt\(\s*)?(["`])([A-Z][a-z]*[ .,:!?][^"`\n]*|[A-Z][a-z]+)\2""")
NO_WORDS = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE|Bearer|[A-Z][A-Za-z]+-.*|AbortError|Enter|Escape|Accept|Home|End)\b.*"
)


class Words(HTMLParser):
    """The texts of a page that are left when everything tagged is taken out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(TAGGED.sub("", page))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.skips = tag in {"script", "style", "code"}
        self.found += [value or "" for name, value in attributes if name in SHOWN]

    def handle_endtag(self, tag: str) -> None:
        self.skips = False

    def handle_data(self, data: str) -> None:
        if not getattr(self, "skips", False):
            self.found.append(data)


def untagged(page: str) -> list[str]:
    """The words of a template that no translation can reach."""
    texts = [" ".join(text.strip(" \n·…").split()) for text in Words(page).found]
    return [text for text in texts if re.search(r"[A-Za-z]{2}", text) and not NAMES.fullmatch(text)]


def unmarked(script: str) -> list[str]:
    """The words of a script that are not looked up."""
    code = re.sub(r"^\s*//.*$|\s// .*$", "", script, flags=re.MULTILINE)
    return [match[3] for match in IN_SCRIPT.finditer(code) if not match[1] and not NO_WORDS.fullmatch(match[3])]


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)\w|\{\w+\}", text))


def problems(domain: str, language: str) -> Iterator[str]:
    """What is not translated, doubtful, left over, or has lost what is filled in."""
    catalog = messages.read(domain, language)
    done, doubtful = messages.words(catalog), {message.id for message in messages.messages(catalog) if message.fuzzy}
    wanted = [words for _, words in messages.found(domain)]
    for words in wanted:
        if not done.get(words):
            yield f"not translated: {words}"
        elif words in doubtful:
            yield f"doubtful: {words}"
        elif placeholders(words) != placeholders(done[words]):
            yield f"other placeholders: {words}"
    yield from (f"left over: {words}" for words in done if words not in wanted)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_every_word_is_translated_and_compiled(domain: str, language: str) -> None:
    assert list(problems(domain, language)) == [], "run `python -m tools.messages`, and translate what it names"
    path = messages.compiled_path(domain, language)
    assert path.read_bytes() == messages.compiled(domain, language), "run `python -m tools.messages`"


def test_a_template_has_no_words_that_are_not_tagged() -> None:
    assert {path.name: found for path in messages.templates() if (found := untagged(path.read_text()))} == {}


def test_a_script_has_no_words_that_are_not_looked_up() -> None:
    paths = [path for path in messages.scripts() if path.name not in NOT_READ]
    assert {path.name: found for path in paths if (found := unmarked(path.read_text()))} == {}


def test_words_that_were_forgotten_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert untagged('<p title="A title">{% translate "Fine" %} forgotten <b>{{ name }}</b></p>') == [
        "A title",
        "forgotten",
    ]
    assert unmarked('find("a").textContent = "Forgotten words.";\nx = t("Fine words.");') == ["Forgotten words."]
    catalog = messages.read("djangojs", "de")
    for message in messages.messages(catalog):
        message.string = "" if message.id == "1 credit" else str(message.string).replace("{amount}", "")
    monkeypatch.setattr(messages, "read", lambda domain, language: catalog)
    assert set(problems("djangojs", "de")) >= {"not translated: 1 credit", "other placeholders: {amount} credits"}


@pytest.mark.django_db(transaction=True)
def test_each_person_reads_pages_errors_and_mails_in_their_language(alice: Actor) -> None:
    browser = Client(headers={"X-Portal": "1", "Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})
    page = browser.get("/login")
    assert ("Anmelden" in page.content.decode(), page["Content-Language"]) == (True, "de")
    assert "Cookie" in page["Vary"]
    assert browser.get("/login", headers={"Accept-Language": "fr"})["Content-Language"] == "en"
    console = Client().get("/admin/login/", headers={"Accept-Language": "de", "Accept": "text/html"})
    assert "Passwort" not in console.content.decode()
    empty = browser.post("/portal/login", {"password": "x"}, content_type="application/json").json()
    assert empty["error"]["message"] == "Dieses Feld ist zwingend erforderlich."
    program = Client(headers={"Accept-Language": "de"})
    empty = program.post("/api/v1/auth/login", {"password": "x"}, content_type="application/json").json()
    assert empty["error"]["message"] == "This field is required."

    portal = {"X-Portal": "1", "Accept-Language": "de"}
    conversation = Conversation.objects.create(user=alice.user, organization=alice.organization, title="Mine")
    shares, body = f"/api/v1/conversations/{conversation.pk}/shares", {"email": "nobody@example.com"}
    refused = alice.post(shares, body, headers=portal).json()["error"]["message"]
    assert refused == "Geben Sie die E-Mail-Adresse einer anderen Person mit Konto ein."
    assert "another person" in alice.post(shares, body).json()["error"]["message"]

    assert alice.with_login().patch("/api/v1/me", {"language": "fr"}).status_code == 400
    assert alice.patch("/api/v1/me", {"language": "de"}).json()["language"] == "de"
    program.post("/api/v1/auth/password/reset", {"email": alice.user.email}, content_type="application/json")
    mail.wait_until_sent()
    assert django_mail.outbox[-1].subject == "Ein neues Passwort"
    assert alice.delete("/api/v1/me", data={"password": PASSWORD}, content_type="application/json").status_code == 202
    mail.wait_until_sent()
    assert re.search(r"am \d+\. \w+ \d{4}, \d\d:\d\d UTC", str(django_mail.outbox[-1].body))
