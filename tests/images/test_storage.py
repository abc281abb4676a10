"""Where pictures are kept: verified first, in a bucket when one is configured, and not for ever."""

import io
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import MagicMock

import boto3
import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone
from moto.server import ThreadedMotoServer
from PIL import Image

from aichat.core.config import stores
from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from aichat.images import jobs, storage
from aichat.images.models import ImageJob, Picture
from aichat.providers.errors import AttemptOutcome, ProviderError
from tests.conftest import Actor
from tests.images.conftest import PNG


def encoded(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_keep_their_format(kind: str) -> None:
    found = storage.verify(encoded(kind))
    assert (found.content_type, found.width, found.height) == (storage.CONTENT_TYPES[kind], 64, 48)


@pytest.mark.parametrize(
    "raw",
    [b"", b"not an image", encoded("PNG")[:40], encoded("GIF"), encoded("BMP"), b"<svg/>"],
    ids=["nothing", "text", "broken off", "GIF", "BMP", "SVG"],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        storage.verify(raw)
    assert caught.value.outcome == AttemptOutcome.MALFORMED


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(ProviderError):
        storage.verify(encoded("PNG", (5000, 4000)))


@pytest.fixture
def bucket(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real S3-compatible server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setitem(os.environ, "AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "test")
    address = f"s3://pictures/tenant?endpoint_url={endpoint}&region_name=us-east-1"
    settings.STORAGES = {**settings.STORAGES, "default": stores.storage(address)}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    yield client
    server.stop()


def test_files_go_to_the_configured_bucket_and_leave_it_again(bucket: Any) -> None:
    picture = Picture(id=uuid7(), content_type="image/png")
    picture.file, picture.thumbnail = storage.store(uuid7(), picture.pk, storage.verify(PNG))
    keys = [row["Key"] for row in bucket.list_objects_v2(Bucket="pictures")["Contents"]]
    assert sorted(keys) == sorted([f"tenant/{picture.file}", f"tenant/{picture.thumbnail}"])
    assert Image.open(io.BytesIO(storage.read(picture))).size == (1024, 1024)
    picture.delete_files()
    assert "Contents" not in bucket.list_objects_v2(Bucket="pictures")


def test_a_disk_that_takes_a_picture_and_not_its_thumbnail_keeps_neither(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = FileSystemStorage.save

    def is_full(self: FileSystemStorage, name: str, *args: Any) -> str:
        if "thumbnail" in name:
            raise OSError("No space left on device")
        return save(self, name, *args)

    monkeypatch.setattr(FileSystemStorage, "save", is_full)
    with pytest.raises(OSError, match="No space"):
        storage.store(uuid7(), uuid7(), storage.verify(PNG))
    assert [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()] == []


def ended(alice: Actor, status: str, **facts: Any) -> ImageJob:
    """A job that is over, without a bill."""
    return ImageJob.objects.create(
        organization=alice.organization,
        user=alice.user,
        prompt="x",
        status=status,
        hold_id=uuid7(),
        hold_amount=0,
        **facts,
    )


def drawn(job: ImageJob, kind: str = "PNG") -> Picture:
    image = storage.verify(encoded(kind))
    picture = Picture(job=job, content_type=image.content_type, width=image.width, height=image.height)
    picture.file, picture.thumbnail = storage.store(job.pk, picture.pk, image)
    picture.save()
    return picture


@pytest.mark.parametrize(("module", "step"), [(jobs, "discard"), (transactions, "run_atomic"), (jobs, "sweep")])
def test_a_process_that_dies_before_any_step_of_a_deletion_leaves_no_file_behind(
    module: Any, step: str, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(alice, "succeeded")
    picture = drawn(job)
    with monkeypatch.context() as patch:
        patch.setattr(module, step, MagicMock(side_effect=SystemExit))
        with pytest.raises(SystemExit):
            jobs.delete(job)
    if ImageJob.objects.exists():
        jobs.delete(job)
    assert not ImageJob.objects.exists()
    assert not default_storage.exists(picture.file) and not default_storage.exists(picture.thumbnail)


def test_a_job_that_is_tried_again_while_it_is_deleted_stays(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(alice, "failed")
    monkeypatch.setattr(jobs, "discard", lambda pictures: jobs.retry(ImageJob.objects.get()))
    with pytest.raises(jobs.JobIsRunning):
        jobs.delete(job)
    assert ImageJob.objects.get().status == "queued"


def test_a_job_that_another_request_has_deleted_is_deleted(alice: Actor) -> None:
    job = ended(alice, "failed")
    ImageJob.objects.all().delete()
    jobs.delete(job)


def test_old_pictures_are_purged_and_young_ones_kept(alice: Actor, host_goes_ahead: Callable[[], None]) -> None:
    for days in (10, 100):
        drawn(ended(alice, "succeeded", model=f"{days} days", finished_at=timezone.now() - timedelta(days=days)))
    host_goes_ahead()  # the database's clock decides
    call_command("purge_images", days=30)
    kept = Picture.objects.get()
    assert kept.job.model == "10 days"
    assert default_storage.exists(kept.file)
    assert default_storage.listdir("images")[0] == [str(kept.job_id)]
    assert len(default_storage.listdir(f"images/{kept.job_id}")[1]) == 2
    with pytest.raises(CommandError, match="--days"):
        call_command("purge_images")
