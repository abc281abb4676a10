"""The admin's pages of image jobs (a gallery) and of webhook deliveries."""

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display

from aichat.core.admin import audit_log
from aichat.core.admin.base import ReadOnlyAdmin, acting, credits_column, link_to_request
from aichat.core.errors import ApiError
from aichat.images import jobs, webhooks
from aichat.images.models import ImageJob, WebhookDelivery
from aichat.images.storage import sign

LABELS = {
    ImageJob.Status.QUEUED: "info",
    ImageJob.Status.RUNNING: "warning",
    ImageJob.Status.SUCCEEDED: "success",
    ImageJob.Status.FAILED: "danger",
}


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """Deliveries, read-only: an operator sends those again that were given up (the dead letters)."""

    actions = ["send_again"]
    list_display = ["url", "state", "attempts", "status_code", "problem", "next_at"]
    list_filter = ["state"]
    search_fields = ["url", "=job__request_id"]
    ordering = ["-id"]

    @admin.action(description="Send those again that were given up")
    def send_again(self, request: HttpRequest, rows: QuerySet[WebhookDelivery]) -> None:
        done = 0
        for row in rows:
            if webhooks.send_again(row):
                done += 1
                audit_log.record(acting(request), row, audit_log.CHANGED, {"state": (row.state, "WAITING")})
        self.message_user(request, f"Deliveries that are sent again: {done} of {len(rows)}.")


@admin.register(ImageJob)
class ImageJobAdmin(ReadOnlyAdmin):
    """Image jobs, read-only: an operator retries or cancels a job, and never edits its row."""

    list_display = ["pictures", "prompt_start", "state", "user", "model", "credits", "created_at"]
    list_display_links = ["pictures", "prompt_start"]
    list_filter = ["status"]
    search_fields = ["=request_id", "user__email", "prompt"]
    actions = ["retry", "cancel"]
    ordering = ["-id"]
    readonly_fields = ["large_pictures", "request_link", "credits", "held"]
    fieldsets = [
        (None, {"fields": ["large_pictures", "prompt", "requested_model", "size", "n", "user", "organization"]}),
        ("Outcome", {"fields": [
            "status", "model", "provider", "credits", "error_code", "error_message", "finished_at",
        ]}),
        ("Work", {"fields": [
            "request_link", "background", "webhook_url", "attempts", "run_after", "held", "hold_reference", "created_at",
        ]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[ImageJob]:
        rows: QuerySet[ImageJob] = super().get_queryset(request)
        return rows.select_related("user").prefetch_related("pictures")

    @display(description="Pictures")
    def pictures(self, job: ImageJob) -> str:
        return self.thumbnails(job, 64) or "–"

    @display(description="Pictures")
    def large_pictures(self, job: ImageJob) -> str:
        return self.thumbnails(job, 320) or "–"

    def thumbnails(self, job: ImageJob, height: int) -> str:
        return format_html_join(
            " ",
            '<img src="{}/api/v1/images/files/{}" class="thumbnail" style="height:{}px" alt="">',
            ((settings.URL_PREFIX, sign(picture.pk, "thumbnail"), height) for picture in job.pictures.all()),
        )

    @display(description="Prompt", ordering="prompt")
    def prompt_start(self, job: ImageJob) -> str:
        return job.prompt[:80]

    @display(description="Status", ordering="status", label=LABELS)
    def state(self, job: ImageJob) -> tuple[str, str]:
        return job.status, job.get_status_display()

    credits = credits_column("charged", "Credits", ordering="charged")
    held = credits_column("hold_amount", "Credits it could cost")

    @display(description="Request ID")
    def request_link(self, job: ImageJob) -> str:
        return link_to_request(job.request_id)

    @admin.action(description="Try failed jobs again")
    def retry(self, request: HttpRequest, rows: QuerySet[ImageJob]) -> None:
        done = 0
        for job in rows:
            try:
                done += self.logged(request, job, ImageJob.Status.FAILED, jobs.retry(job))
            except ApiError as error:
                self.message_user(request, f"{job}: {error.message}", messages.ERROR)
        self.message_user(request, f"Jobs that are queued again: {done} of {len(rows)}.")

    @admin.action(description="Cancel queued jobs")
    def cancel(self, request: HttpRequest, rows: QuerySet[ImageJob]) -> None:
        done = sum(self.logged(request, job, ImageJob.Status.QUEUED, jobs.cancel(job)) for job in rows)
        self.message_user(request, f"Cancelled jobs, whose credits are free again: {done} of {len(rows)}.")

    def logged(self, request: HttpRequest, job: ImageJob, before: str, was_done: bool) -> bool:
        if was_done:
            job.refresh_from_db(fields=["status"])
            audit_log.record(acting(request), job, audit_log.CHANGED, {"status": (before, job.status)})
        return was_done
