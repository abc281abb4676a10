"""Pictures and PDFs of messages. Their bytes are rows: written and deleted in the commit of the message they belong to."""

import base64
import io
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.db.models import Sum
from django.utils.translation import gettext
from PIL import Image, UnidentifiedImageError

from accounts import file_limits
from accounts.authentication import Caller
from accounts.models import User
from aichat.chat.models import Attachment, Conversation
from aichat.chat.schemas import MOST_ATTACHMENTS
from aichat.core.database import clock
from aichat.core.database.models import uuid7
from aichat.core.errors import InvalidRequest, NotFound

PDF = "application/pdf"
PICTURES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
MOST_UNSENT = 50  # of one person
UNSENT_FOR = timedelta(days=1)  # then one that no message has is deleted
MOST_SENT = 20 * 2**20  # bytes of a branch's attachments that go to the model; of older ones only the names go
LARGEST_PIXELS = 8192 * 8192
URL_SECONDS = 3600
signer = TimestampSigner(sep=".", salt="aichat.chat.attachments")


def media_type_of(content: bytes) -> str:
    """The media type of a file, by its bytes. Raises `InvalidRequest` for anything but a whole picture or a PDF."""
    if content.startswith(b"%PDF-"):
        return PDF
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=list(PICTURES)) as picture:
                if picture.width * picture.height > LARGEST_PIXELS:
                    raise InvalidRequest(gettext("The picture has too many pixels."), param="body")
                found = PICTURES[picture.format or ""]
                picture.verify()
                return found
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, KeyError, Warning):
        raise InvalidRequest(gettext("Send a PNG, JPEG, WebP or GIF picture, or a PDF."), param="body") from None


def store(caller: Caller, name: str, content: bytes) -> Attachment:
    """Keep a file for the caller's next message. Raises `InvalidRequest`, `NoRoom`."""
    media_type = media_type_of(content)
    if _unsent(caller).count() >= MOST_UNSENT:
        text = gettext("You have %(most)s files that no message has: they are deleted after a day.")
        raise InvalidRequest(text % {"most": MOST_UNSENT})
    file_limits.check(caller.user.pk, len(content))
    row = Attachment.objects.create(
        organization=caller.organization,
        user=caller.user,
        name=name,
        media_type=media_type,
        size=len(content),
        data=content,
    )
    try:
        file_limits.check_stored(caller.user.pk)
    except file_limits.NoRoom:
        row.delete()
        raise
    return row


def room_of(user_id: UUID) -> int:
    """How many bytes a person's files take."""
    return Attachment.objects.filter(user_id=user_id).aggregate(size=Sum("size"))["size"] or 0


def _unsent(caller: Caller) -> Any:
    return Attachment.objects.filter(conversation=None, user=caller.user, organization=caller.organization)


def purge() -> int:
    """Delete the files that were never sent; returns how many."""
    clock.keep_compared()
    old = Attachment.objects.filter(conversation=None, created_at__lt=clock.shared_now() - UNSENT_FOR)
    return old.delete()[0]


def chosen(caller: Caller, ids: Sequence[UUID], conversation: Conversation) -> list[dict[str, Any]]:
    """Return what a message keeps of the files with these IDs. Raises `InvalidRequest` for one that the caller may not use.

    The caller may use their own files that no message has yet, and those of the conversation.
    """
    if not ids:
        return []
    rows = {row.pk: row for row in Attachment.objects.filter(pk__in=ids).defer("data")}
    found = [rows[pk] for pk in dict.fromkeys(ids) if pk in rows and _is_usable(rows[pk], caller, conversation)]
    if len(found) < len(set(ids)):
        raise InvalidRequest("There is no such file of yours: send it again.", param="attachments")
    return [facts(row) for row in found]


def _is_usable(row: Attachment, caller: Caller, conversation: Conversation) -> bool:
    if row.conversation_id is not None:
        return row.conversation_id == conversation.pk
    return row.user_id == caller.user.pk and row.organization_id == caller.organization.pk


def facts(row: Attachment) -> dict[str, Any]:
    """What a message keeps of a file."""
    return {"id": str(row.pk), "name": row.name, "media_type": row.media_type, "size": row.size}


def with_urls(kept: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The files of a message, with addresses that show them to whoever has them for `URL_SECONDS`."""
    return [
        {**one, "url": f"{settings.URL_PREFIX}/api/v1/attachments/files/{signer.sign(one['id'])}"} for one in kept or ()
    ]


def by_ticket(ticket: str) -> Attachment:
    """The file of a signed address. Raises `NotFound`."""
    try:
        pk = UUID(signer.unsign(ticket, max_age=URL_SECONDS))
    except (BadSignature, ValueError):
        raise NotFound() from None
    row = Attachment.objects.filter(pk=pk).first()
    if row is None:
        raise NotFound()
    return row


def parts(kept_newest_first: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """OpenAI's content parts of files by their IDs: the newest, up to `MOST_SENT` bytes, and the names of the others."""
    ids: list[str] = []
    room, found = MOST_SENT, {}
    for one in (file for files in kept_newest_first for file in files):
        room -= one["size"]
        if room >= 0:
            ids.append(one["id"])
        found[one["id"]] = {"type": "text", "text": f"[A file, not sent again: {one['name']}]"}
    for row in Attachment.objects.filter(pk__in=ids) if ids else ():
        found[str(row.pk)] = _part(row)
    return found


def _part(row: Attachment) -> dict[str, Any]:
    address = f"data:{row.media_type};base64,{base64.b64encode(row.data).decode()}"
    if row.media_type == PDF:
        return {"type": "file", "file": {"filename": row.name, "file_data": address}}
    return {"type": "image_url", "image_url": {"url": address}}


def attach(kept: Collection[Mapping[str, Any]], conversation_id: UUID) -> None:
    """Make new files the conversation's, in the commit of the message that has them."""
    ids = [one["id"] for one in kept]
    Attachment.objects.filter(pk__in=ids, conversation=None).update(conversation_id=conversation_id)


def drawn(images: Sequence[str], conversation: Conversation) -> list[Attachment]:
    """The pictures of an answer as unsaved files. A picture that the provider only links to is left out."""
    found: list[Attachment] = []
    for address in images[:MOST_ATTACHMENTS]:
        head, _, data = address.partition(";base64,")
        try:
            content = base64.b64decode(data, validate=True) if head.startswith("data:image/") else b""
            media_type = media_type_of(content)
        except (ValueError, InvalidRequest):
            continue
        found.append(
            Attachment(
                pk=uuid7(),
                organization_id=conversation.organization_id,
                user_id=conversation.user_id,
                conversation_id=conversation.pk,
                name=f"picture-{len(found) + 1}.{media_type.removeprefix('image/')}",
                media_type=media_type,
                size=len(content),
                data=content,
            )
        )
    return found


FILE = "chat.Attachment.file"


def files(user: User) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each file of the person, for the export of everything that is theirs."""
    for pk in list(Attachment.objects.filter(user=user).order_by("pk").values_list("pk", flat=True)):
        for row in Attachment.objects.filter(pk=pk):
            data = base64.b64encode(row.data).decode()
            yield FILE, {"attachment_id": row.pk, "name": row.name, "media_type": row.media_type, "base64": data}
