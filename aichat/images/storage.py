"""Pictures as files: a provider's bytes are verified, bounded and re-encoded without metadata; URLs are signed."""

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.signing import BadSignature, TimestampSigner
from PIL import Image, UnidentifiedImageError

from aichat.images.models import Picture
from aichat.providers.errors import AttemptOutcome, ProviderError

LARGEST_BYTES = 32 * 2**20
LARGEST_PIXELS = 4096 * 4096
THUMBNAIL = (320, 320)
CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
URL_SECONDS = 3600
signer = TimestampSigner(salt="aichat.images")


@dataclass(frozen=True, slots=True)
class Verified:
    """An image that was decoded completely, and re-encoded from its pixels."""

    content: bytes
    thumbnail: bytes
    content_type: str
    width: int
    height: int

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return len(self.content) + len(self.thumbnail)


def verify(raw: bytes) -> Verified:
    """Decode and re-encode an image. Raises `ProviderError(MALFORMED)` for anything but a PNG, JPEG or WebP within limits."""
    if len(raw) > LARGEST_BYTES:
        raise ProviderError(AttemptOutcome.MALFORMED, "an image that is too large")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=list(CONTENT_TYPES)) as probe:
                if probe.width * probe.height > LARGEST_PIXELS:
                    raise ProviderError(AttemptOutcome.MALFORMED, "an image with too many pixels")
                probe.verify()
            # `verify` leaves the image unusable: the pixels are read from a second opening.
            with Image.open(io.BytesIO(raw), formats=list(CONTENT_TYPES)) as image:
                kind = image.format or "PNG"
                pixels = image.convert("RGB" if kind == "JPEG" else "RGBA" if "A" in image.getbands() else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Warning) as error:
        raise ProviderError(AttemptOutcome.MALFORMED, "an image that can't be decoded") from error
    small = pixels.copy()
    small.thumbnail(THUMBNAIL)
    return Verified(encode(pixels, kind), encode(small, "PNG"), CONTENT_TYPES[kind], pixels.width, pixels.height)


def encode(image: Image.Image, kind: str) -> bytes:
    """The image's pixels as a file of `kind`, without the EXIF, text chunks and profiles of the original."""
    image.info.clear()
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 92} if kind != "PNG" else {}))
    return file.getvalue()


def folder(job_id: UUID) -> str:
    return f"images/{job_id}"


def store(job_id: UUID, picture_id: UUID, image: Verified) -> tuple[str, str]:
    """Save a picture and its thumbnail, or neither. Returns the names of both files in the storage."""
    suffix = image.content_type.removeprefix("image/")
    name = default_storage.save(f"{folder(job_id)}/{picture_id}.{suffix}", ContentFile(image.content))
    try:
        thumbnail = default_storage.save(f"{folder(job_id)}/{picture_id}.thumbnail.png", ContentFile(image.thumbnail))
    except BaseException:
        with suppress(Exception):  # the storage that failed may fail again
            default_storage.delete(name)
        raise
    return name, thumbnail


def stored_files(job_id: UUID) -> list[str]:
    """The names of a job's files in the storage, those of workers that died before their commit among them."""
    with suppress(FileNotFoundError):  # nothing was ever stored
        return [f"{folder(job_id)}/{file}" for file in default_storage.listdir(folder(job_id))[1]]
    return []


def sweep(job_id: UUID) -> None:
    """Delete all files of a job that is deleted, and their folder."""
    for name in stored_files(job_id):
        default_storage.delete(name)
    default_storage.delete(folder(job_id))  # a bucket has no folders, and ignores this


def read(picture: Picture, *, thumbnail: bool = False) -> bytes:
    """The picture's bytes. Raises `FileNotFoundError` when the storage has lost the file."""
    with default_storage.open(picture.thumbnail if thumbnail else picture.file) as file:
        content: bytes = file.read()
    return content


def sign(picture_id: UUID, variant: str = "file") -> str:
    """Sign the last part of a URL, which shows one picture for `URL_SECONDS`."""
    return signer.sign(f"{picture_id}:{variant}")


def unsign(signed: str) -> tuple[str, str] | None:
    """Picture ID and variant of a signed part; None when the signature is wrong or too old."""
    try:
        picture_id, _, variant = signer.unsign(signed, max_age=URL_SECONDS).partition(":")
    except BadSignature:
        return None
    return picture_id, variant
