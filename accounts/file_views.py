"""The endpoint that says how much room the caller's files take."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import file_limits
from accounts.authentication import calling
from accounts.models import User
from accounts.permissions import IsUser


class FilesSerializer(serializers.Serializer[User]):
    used = serializers.IntegerField(help_text="Bytes: files in chats and pictures, in all organizations.")
    limit = serializers.IntegerField(allow_null=True, help_text="Bytes; null: no limit.")


class FilesView(APIView):
    permission_classes = [IsUser]

    @extend_schema(summary="The room my files take", responses=FilesSerializer)
    def get(self, request: Request) -> Response:
        """Returns how many bytes the caller's files take, and may take. What is deleted is free at once."""
        return Response({"used": file_limits.used(calling(request).user.pk), "limit": file_limits.limit()})
