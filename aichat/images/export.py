"""The pictures of a person, for the export of everything that is theirs (`accounts.personal_data`)."""

import base64
import logging
from collections.abc import Iterator
from typing import Any

from accounts.models import User
from aichat.core.database.batches import rows_by_key
from aichat.images import storage
from aichat.images.models import Picture

logger = logging.getLogger(__name__)
FILE = "images.Picture.file"


def files(user: User) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the file of each picture of the person, one at a time. `base64` is null where the storage has none."""
    for batch in rows_by_key(Picture.objects.filter(job__user_id=user.pk)):
        for picture in batch:
            yield FILE, {"picture_id": picture.pk, "content_type": picture.content_type, "base64": _content(picture)}


def _content(picture: Picture) -> str | None:
    try:
        return base64.b64encode(storage.read(picture)).decode()
    except Exception:  # each storage has errors of its own; the others of the person are sent all the same
        logger.warning("a picture can't be exported", exc_info=True, extra={"picture": str(picture.pk)})
        return None
