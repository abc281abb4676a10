"""Files for messages: sent as they are, shown by a signed address."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.models import Scope
from accounts.permissions import ForLimitedKeys, IsUser, Public
from aichat.chat import attachments
from aichat.chat.serializers import AttachmentSerializer
from aichat.core.web.drf import StrictMembers

TYPES = (*attachments.PICTURES.values(), attachments.PDF)
BINARY = {"type": "string", "format": "binary"}


class FileParser(BaseParser):
    """Takes the body as it is: its type is read from its bytes, and the middleware bounds its size."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read()


class NameSerializer(StrictMembers, serializers.Serializer[object]):
    name = serializers.CharField(max_length=200, required=False, default="file")


class AttachmentsView(APIView):
    permission_classes = [IsUser, ForLimitedKeys]
    scope = Scope.CHAT
    parser_classes = [FileParser]

    @extend_schema(
        summary="Send a file",
        parameters=[OpenApiParameter("name", str, description="The file's name.")],
        request=dict.fromkeys(TYPES, BINARY),
        responses={201: AttachmentSerializer},
    )
    def post(self, request: Request) -> Response:
        """Send a PNG, JPEG, WebP or GIF picture or a PDF as the body; a chat names it in `attachments` within a day."""
        form = NameSerializer(data={"name": request.query_params.get("name") or "file"})
        form.is_valid(raise_exception=True)
        content: Any = request.data
        content = content if isinstance(content, bytes) else b""  # what a form sends is no file
        row = attachments.store(calling(request), form.validated_data["name"], content)
        return Response(attachments.with_urls([attachments.facts(row)])[0], status=status.HTTP_201_CREATED)


class AttachmentFileView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(summary="A message's file", auth=[], responses={(200, "image/png"): OpenApiResponse(BINARY)})
    def get(self, request: Request, ticket: str) -> HttpResponse:
        """Shows the file to whoever has the signed address, for an hour. A PDF is a download; nothing in a file can run."""
        row = attachments.by_ticket(ticket)
        response = HttpResponse(bytes(row.data), content_type=row.media_type)
        response["Content-Disposition"] = "attachment" if row.media_type == attachments.PDF else "inline"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response["Cache-Control"] = "private, max-age=3600"
        return response
