"""Image jobs, their pictures and their webhook deliveries. A job's row is its whole state: no process or broker has more."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import models
from django.utils import timezone

from accounts.authentication import Caller
from aichat.core.database import clock
from aichat.core.database.models import Row
from credits.models import Hold, HoldRef


def lease_end() -> datetime:
    """The end of a lease that begins or is renewed now."""
    return clock.shared_now() + timedelta(seconds=settings.IMAGE_LEASE_SECONDS)


class ImageJobQuerySet(models.QuerySet["ImageJob"]):
    def due(self, moment: datetime) -> "ImageJobQuerySet":
        """Jobs that a worker may claim at `moment`: queued and due, or left behind by a worker that died."""
        return self.filter(status__in=[ImageJob.Status.QUEUED, ImageJob.Status.RUNNING], run_after__lte=moment)


class ImageJob(Row):
    """One request for pictures, made at once or in the background.

    A running job has a `claim`, a token of the worker that has the job, and `run_after` is the end of the worker's lease: a
    worker that dies stops renewing the lease, and the job is due again.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="image_jobs")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="image_jobs")
    api_key_id = models.UUIDField(null=True, blank=True, editable=False)
    request_id = models.CharField(max_length=64, blank=True, db_index=True)
    # Of the request's span, for the worker's. Null, not empty: during an upgrade servers without this field write rows.
    traceparent = models.CharField(max_length=55, null=True, editable=False)  # noqa: DJ001

    prompt = models.TextField()
    requested_model = models.CharField(max_length=100)
    size = models.CharField(max_length=20)
    n = models.PositiveSmallIntegerField(default=1)
    background = models.BooleanField(default=False)
    webhook_url = models.URLField(max_length=500, blank=True, default="", db_default="")

    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    model = models.CharField(max_length=100, blank=True, help_text="The one that served.")
    provider = models.CharField(max_length=50, blank=True)
    error_code = models.CharField(max_length=50, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    charged = models.BigIntegerField(default=0, help_text="Microcredits.")

    files_size = models.BigIntegerField(
        null=True, editable=False, help_text="Bytes of its files; until it is over what they may take. Empty: unknown."
    )

    hold_id = models.UUIDField(editable=False)
    hold_amount = models.BigIntegerField(editable=False, help_text="Microcredits.")
    hold_reference = models.CharField(max_length=100, editable=False)

    attempts = models.PositiveSmallIntegerField(default=0)
    claim = models.UUIDField(null=True, blank=True, editable=False)
    run_after = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImageJobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["status", "run_after"], name="image_jobs_by_time"),
            models.Index(fields=["organization", "user", "-id"], name="image_jobs_of_user"),
            models.Index(fields=["status", "finished_at"], name="image_jobs_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.prompt[:60]} ({self.status})"

    @property
    def hold(self) -> HoldRef:
        return Hold.objects.get(pk=self.hold_id).ref

    @property
    def is_over(self) -> bool:
        return self.status in {self.Status.SUCCEEDED, self.Status.FAILED, self.Status.CANCELLED}

    def unchanged(self) -> ImageJobQuerySet:
        """The job's row, if nobody claimed the job since the row was read."""
        return ImageJob.objects.filter(pk=self.pk, status=self.status, claim=self.claim)

    def position_in_queue(self) -> int | None:
        """How many queued jobs stand before this one; None unless this one is queued."""
        if self.status != self.Status.QUEUED:
            return None
        return ImageJob.objects.filter(status=self.Status.QUEUED, run_after__lt=self.run_after).count()


def jobs_of(caller: Caller) -> "models.QuerySet[ImageJob]":
    """The jobs that the caller made in the organization they act for."""
    return ImageJob.objects.filter(organization=caller.organization, user=caller.user)


class Picture(Row):
    """One image of a job: a file and its thumbnail in the configured storage."""

    job = models.ForeignKey(ImageJob, on_delete=models.CASCADE, related_name="pictures")
    file = models.CharField(max_length=200)
    thumbnail = models.CharField(max_length=200)
    content_type = models.CharField(max_length=50)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"

    def delete_files(self) -> None:
        for name in (self.file, self.thumbnail):
            default_storage.delete(name)


class WebhookDelivery(Row):
    """A message that a job is over, on its way to the address that the job's client gave."""

    class State(models.TextChoices):
        WAITING = "WAITING"
        DELIVERED = "DELIVERED"
        GIVEN_UP = "GIVEN_UP", "given up"

    job = models.OneToOneField(ImageJob, on_delete=models.CASCADE, related_name="delivery")
    url = models.URLField(max_length=500)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, help_text="While it is being sent: the end of the lease.")
    claim = models.UUIDField(
        null=True, editable=False, help_text="Of the attempt that has the delivery, or had it last."
    )
    receiver = models.CharField(
        max_length=255, blank=True, editable=False, default="", db_default="", help_text="Host and port of the URL."
    )
    organization_id = models.UUIDField(null=True, editable=False)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Of the last attempt.")
    problem = models.CharField(max_length=200, blank=True, help_text="Of the last attempt.")

    class Meta:
        verbose_name_plural = "webhook deliveries"
        indexes = [models.Index(fields=["state", "next_at"], name="webhooks_by_time")]

    def __str__(self) -> str:
        return f"{self.url} ({self.state.lower()})"
