"""Image jobs and pictures as JSON."""

from typing import Any, cast

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from aichat.core.money import CreditsField
from aichat.images.models import ImageJob, Picture
from aichat.images.storage import sign


def picture_url(request: Any, picture: Picture, variant: str = "file") -> str:
    """A URL that shows one picture for an hour, to anybody who has the URL."""
    return str(request.build_absolute_uri(f"{settings.URL_PREFIX}/api/v1/images/files/{sign(picture.pk, variant)}"))


class PictureSerializer(serializers.ModelSerializer[Picture]):
    url = serializers.SerializerMethodField()
    thumbnail_url = serializers.SerializerMethodField()

    class Meta:
        model = Picture
        fields = ["url", "thumbnail_url", "width", "height"]

    def get_url(self, picture: Picture) -> str:
        return picture_url(self.context["request"], picture)

    def get_thumbnail_url(self, picture: Picture) -> str:
        return picture_url(self.context["request"], picture, "thumbnail")


class ImageJobSerializer(serializers.ModelSerializer[ImageJob]):
    model = serializers.SerializerMethodField(help_text="The one that served, or the one asked for until then.")
    images = PictureSerializer(source="pictures", many=True, read_only=True)
    credits = CreditsField(source="charged", read_only=True)
    error = serializers.SerializerMethodField()
    position = serializers.SerializerMethodField(help_text="Jobs before this one, while it is queued.")

    class Meta:
        model = ImageJob
        fields = [
            "id",
            "status",
            "position",
            "prompt",
            "size",
            "n",
            "model",
            "provider",
            "images",
            "credits",
            "error",
            "request_id",
            "created_at",
            "finished_at",
        ]

    def get_model(self, job: ImageJob) -> str:
        return job.model or job.requested_model

    @extend_schema_field(
        {
            "type": ["object", "null"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    )
    def get_error(self, job: ImageJob) -> dict[str, str] | None:
        return {"code": job.error_code, "message": job.error_message} if job.error_code else None

    def get_position(self, job: ImageJob) -> int | None:
        if "position" in self.context:  # known already
            return cast(int | None, self.context["position"])
        # In a list it would be a query for each row.
        return None if isinstance(self.parent, serializers.ListSerializer) else job.position_in_queue()
