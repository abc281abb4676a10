"""The image endpoints: pictures are made at once or in the background, listed, watched, shown and deleted."""

import base64
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Caller, calling
from accounts.models import Scope
from accounts.permissions import IsUser, NotForLimitedKeys, Public
from accounts.tenancy import as_id, owned
from aichat.api.async_views import AsyncView, parse
from aichat.api.openai.answers import ImageList
from aichat.core.database import executor
from aichat.core.errors import NotFound
from aichat.core.money import format_credits
from aichat.core.outbound.webhooks import secret_of
from aichat.core.web import drf, responses, sse
from aichat.core.web.answer_models import events
from aichat.core.web.openapi import PICTURE_HEADERS, charges, may_answer
from aichat.generation.errors import STATUSES
from aichat.images import jobs, webhooks
from aichat.images.models import ImageJob, Picture, jobs_of
from aichat.images.schemas import DeletedJob, ImageBody, OpenAIImageBody
from aichat.images.serializers import ImageJobSerializer, picture_url
from aichat.images.storage import read, unsign
from aichat.images.submission import ask, run_now
from aichat.images.watching import Watch


def charged_headers(job: ImageJob) -> dict[str, str]:
    return {"X-Provider": job.provider, "X-Model": job.model, "X-Credits-Charged": format_credits(job.charged)}


def describe(request: HttpRequest, job: ImageJob) -> dict[str, Any]:
    return dict(ImageJobSerializer(job, context={"request": request}).data)


class ImagePages(drf.CursorPages):
    ordering = "-id"


class ImagesView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.IMAGES
    pagination_class = ImagePages  # for the OpenAPI document

    serializer_class = ImageJobSerializer

    @extend_schema(
        summary="Make pictures",
        request=ImageBody,
        responses={201: ImageJobSerializer, 202: ImageJobSerializer},
    )
    @may_answer(*STATUSES)
    @charges(*PICTURE_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """201 with the finished job, or with `background: true` 202 at once and the job's address in `Location`."""
        body = await parse(ImageBody, request)
        asked = await ask(request, caller, **body.model_dump())
        job = asked.job
        code = status.HTTP_202_ACCEPTED if body.background else status.HTTP_201_CREATED
        if not body.background:
            job = await run_now(asked)
        response = responses.json_response(await executor.run(describe, request, job), code)
        response["Location"] = f"{settings.URL_PREFIX}/api/v1/images/{job.pk}"
        for name, value in ({**asked.headers, **charged_headers(job)} if job.is_over else asked.headers).items():
            response[name] = value
        return response

    @extend_schema(summary="My pictures", responses=ImageJobSerializer(many=True))
    async def get(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """The caller's jobs, newest first."""
        return responses.json_response(await executor.run(self.page, request, caller))

    def page(self, request: HttpRequest, caller: Caller) -> dict[str, Any]:
        pages, drf_request = ImagePages(), self.initialize_request(request)
        rows: list[ImageJob] | None = pages.paginate_queryset(
            jobs_of(caller).prefetch_related("pictures"), drf_request, self
        )
        data = ImageJobSerializer(rows, many=True, context={"request": request}).data
        return dict(pages.get_paginated_response(data).data)


class ImageView(GenericAPIView[ImageJob]):
    permission_classes = [IsUser]
    scope = Scope.IMAGES

    serializer_class = ImageJobSerializer

    def get_object(self) -> ImageJob:
        caller = calling(self.request)
        return owned(jobs_of(caller), caller.organization, self.kwargs["job_id"])

    @extend_schema(summary="One job")
    def get(self, request: Request, job_id: UUID) -> Response:
        """One job: its status, and its pictures once it has succeeded."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(summary="Cancel or delete a job", responses={204: None})
    @may_answer(409)
    def delete(self, request: Request, job_id: UUID) -> Response:
        """A queued job is cancelled and its credits are free again; a finished one is deleted with its files."""
        jobs.delete(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class ImageEventsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.IMAGES

    @extend_schema(
        summary="Watch a job",
        responses={
            (200, "text/event-stream"): OpenApiResponse(
                events("ImageJob", DeletedJob, "Error"), "`event: status` until it is over."
            )
        },
    )
    async def get(self, request: HttpRequest, caller: Caller, job_id: UUID) -> HttpResponseBase:
        """The job at every change, as server-sent events; the last one has its final status (`deleted`: it was deleted).

        A watch ends after ten minutes and counts as one of the streams that a user may have open (`STREAMS_PER_USER`)."""
        job = await executor.run(owned, jobs_of(caller), caller.organization, job_id)
        watch = await Watch.begin(request, caller, job.pk)
        if watch is None:  # deleted since
            raise NotFound()
        return sse.EventStream(watch)


class PictureFileView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(
        summary="A picture's file",
        responses={(200, "image/png"): OpenApiResponse({"type": "string", "format": "binary"})},
    )
    def get(self, request: Request, signed: str) -> HttpResponseBase:
        """Shows the picture to whoever has the signed URL, for an hour."""
        found = unsign(signed)
        picture = Picture.objects.filter(pk=as_id(found[0])).first() if found else None
        if found is None or picture is None:
            raise NotFound()
        is_thumbnail = found[1] == "thumbnail"
        try:
            content = read(picture, thumbnail=is_thumbnail)
        except FileNotFoundError:
            raise NotFound() from None
        response = HttpResponse(content, content_type="image/png" if is_thumbnail else picture.content_type)
        response["Cache-Control"] = "private, max-age=3600"
        return response


class WebhookSecretView(APIView):
    permission_classes = [IsUser, NotForLimitedKeys]

    @extend_schema(
        summary="Webhook secret",
        responses={
            200: OpenApiResponse(
                {"type": "object", "properties": {name: {"type": "string"} for name in ("secret", "old_secret")}}
            )
        },
    )
    def get(self, request: Request) -> Response:
        """The secret that signs the organization's webhooks (Standard Webhooks), and that of the old `Aichat-Signature`."""
        organization_id = calling(request).organization.pk
        return Response({"secret": secret_of(organization_id), "old_secret": webhooks.old_secret_of(organization_id)})


class GenerationsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.IMAGES

    @extend_schema(
        summary="Images (OpenAI-compatible)",
        request=OpenAIImageBody,
        responses={200: ImageList},
    )
    @may_answer(*STATUSES)
    @charges(*PICTURE_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Makes pictures for any OpenAI client, with `/v1` as its base URL."""
        body = await parse(OpenAIImageBody, request)
        size = body.size if body.size and body.size != "auto" else "1024x1024"
        wanted = {"prompt": body.prompt, "model": body.model, "size": size, "n": body.n or 1, "background": False}
        asked = await ask(request, caller, **wanted)
        job = await run_now(asked)
        data = await executor.run(self.data, request, job, body.response_format == "url")
        response = responses.json_response({"created": int(job.created_at.timestamp()), "data": data})
        for name, value in {**asked.headers, **charged_headers(job)}.items():
            response[name] = value
        return response

    def data(self, request: HttpRequest, job: ImageJob, as_url: bool) -> list[dict[str, str]]:
        pictures = list(job.pictures.order_by("id"))
        if as_url:
            return [{"url": picture_url(request, picture)} for picture in pictures]
        return [{"b64_json": base64.b64encode(read(picture)).decode()} for picture in pictures]
