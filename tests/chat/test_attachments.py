"""Pictures and PDFs of messages: sent, shown, given to the model, and gone with their conversation."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
from django.utils import timezone

from accounts import personal_data
from aichat.chat import attachments
from aichat.chat.models import Attachment, Message
from tests.chat.asking import CHAT, MINI
from tests.conftest import Actor
from tests.images.conftest import PNG

FILES = "/api/v1/attachments"
PDF = b"%PDF-1.7 something"


def send(http: httpx.Client, actor: Actor, content: bytes, name: str = "") -> httpx.Response:
    headers = {**actor.headers, "Content-Type": "application/octet-stream"}
    return http.post(FILES, params={"name": name} if name else {}, content=content, headers=headers)


def test_a_picture_and_a_pdf_go_to_the_model_with_every_turn_of_their_branch(
    http: httpx.Client, openai_upstream: Any, alice: Actor
) -> None:
    picture, paper = send(http, alice, PNG, "cat.png").json(), send(http, alice, PDF, "bill.pdf").json()
    assert (picture["media_type"], paper["media_type"]) == ("image/png", "application/pdf")
    ids = [picture["id"], paper["id"]]

    def ask(**body: Any) -> Any:
        return http.post(CHAT, json={"model": MINI, **body}, headers=alice.headers).json()

    first = ask(message="What is it?", attachments=ids)
    conversation = {"conversation_id": first["conversation_id"]}
    parts = openai_upstream.last_request.body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "file"]
    assert base64.b64decode(parts[1]["image_url"]["url"].partition(",")[2]) == PNG
    assert parts[2]["file"]["filename"] == "bill.pdf"
    ask(**conversation, message="Sure?")
    assert openai_upstream.last_request.body["messages"][0]["content"] == parts
    ask(**conversation, replaces=first["message"]["id"])
    assert openai_upstream.last_request.body["messages"][0]["content"] == parts
    ask(**conversation, replaces=first["message"]["parent_id"], message="And this?", attachments=ids[:1])
    assert len(openai_upstream.last_request.body["messages"][0]["content"]) == 2

    path = f"/api/v1/conversations/{first['conversation_id']}"
    listed = http.get(f"{path}/messages", headers=alice.headers).json()["results"]
    shown = listed[0]["attachments"]
    assert [(one["name"], one["size"]) for one in shown] == [("cat.png", len(PNG)), ("bill.pdf", len(PDF))]
    file = http.get(shown[0]["url"])
    assert (file.content, file.headers["content-type"]) == (PNG, "image/png")
    assert "sandbox" in file.headers["content-security-policy"]
    assert http.get(shown[1]["url"]).headers["content-disposition"] == "attachment"
    assert http.get(shown[0]["url"][:-1]).status_code == 404
    exported = [json.loads(line) for line in b"".join(personal_data.lines(alice.user)).splitlines()]
    assert [line["data"]["name"] for line in exported if line["type"] == attachments.FILE] == ["cat.png", "bill.pdf"]
    http.delete(path, headers=alice.headers)
    assert not Attachment.objects.exists()


def test_what_is_no_picture_or_pdf_is_refused_and_so_is_another_s(http: httpx.Client, alice: Actor, bob: Actor) -> None:
    for wrong in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", PNG[:40], b"GIF89a"):
        assert send(http, alice, wrong).json()["error"]["param"] == "body", wrong
    assert send(http, alice, PNG, "x" * 201).json()["error"]["param"] == "name"
    his = send(http, bob, PNG).json()["id"]
    refused = http.post(CHAT, json={"message": "Look", "attachments": [his]}, headers=alice.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "attachments")
    assert (Message.objects.count(), alice.wallet.held) == (0, 0)
    Attachment.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert attachments.purge() == 1


def test_a_host_whose_clock_is_ahead_deletes_no_file_early(
    http: httpx.Client, alice: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    send(http, alice, PNG)
    host_goes_ahead()
    assert attachments.purge() == 0


def test_pictures_that_a_model_draws_are_kept_with_its_answer(alice: Actor, db: None) -> None:
    from aichat.chat.models import Conversation

    conversation = Conversation(user=alice.user, organization=alice.organization)
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    made = attachments.drawn([url, "https://example.com/a.png", "data:image/svg+xml;base64,AAAA"], conversation)
    assert [(one.name, bytes(one.data)) for one in made] == [("picture-1.png", PNG)]
