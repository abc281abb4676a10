"""Flags as they are for the caller, and their administration."""

from typing import TypeVar

from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsAdmin, IsUser
from aichat.core.errors import NotFound
from aichat.core.web.drf import CursorPages
from aichat.core.web.openapi import may_answer
from aichat.flags import evaluation, services
from aichat.flags.features import SWITCHES
from aichat.flags.models import Experiment, Flag
from aichat.flags.serializers import STATES, ChangeSerializer, FlagSerializer

Entry = TypeVar("Entry", Flag, Experiment)


class FlagsView(APIView):
    permission_classes = [IsUser]

    @extend_schema(summary="My flags", responses={(200, "application/json"): OpenApiResponse(STATES)})
    def get(self, request: Request) -> Response:
        """Every flag, and every experiment under way with the caller's variant."""
        return Response(evaluation.states(calling(request)))


def save(form: serializers.ModelSerializer[Entry], row: Entry, request: Request) -> Entry:
    """Set the row's attributes from the valid form, and save the row."""
    for name, value in form.validated_data.items():
        setattr(row, name, value)
    services.save(row, actor=calling(request).user)
    return row


@extend_schema_view(get=extend_schema(summary="All flags"))
class AdminFlagsView(ListAPIView[Flag]):
    """Every flag that has a row. A switch of the product without a row is on."""

    serializer_class = FlagSerializer
    permission_classes = [IsAdmin]
    queryset = Flag.objects.all()

    @extend_schema(operation_id="admin_flags_create", summary="Make a flag", responses={201: FlagSerializer})
    def post(self, request: Request) -> Response:
        """Makes a flag, or sets a switch of the product (`streaming`, `images` …), which may have a row already."""
        key = request.data.get("key") if isinstance(request.data, dict) else None
        row = services.flag_or_switch(key) if isinstance(key, str) and key in SWITCHES else None
        form = FlagSerializer(row, data=request.data)
        form.is_valid(raise_exception=True)
        row = save(form, row or Flag(), request)
        return Response(FlagSerializer(row).data, status=status.HTTP_201_CREATED)


class AdminFlagView(GenericAPIView[Flag]):
    serializer_class = FlagSerializer
    permission_classes = [IsAdmin]

    def get_object(self) -> Flag:
        row = services.flag_or_switch(self.kwargs["key"])
        if row is None:
            raise NotFound()
        return row

    @extend_schema(summary="One flag")
    def get(self, request: Request, key: str) -> Response:
        """The flag's rules, as an administrator set them."""
        return Response(FlagSerializer(self.get_object()).data)

    @extend_schema(summary="Change a flag")
    def patch(self, request: Request, key: str) -> Response:
        """Every process sees the change within a second."""
        row = self.get_object()
        form = FlagSerializer(row, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        return Response(FlagSerializer(save(form, row, request)).data)

    @extend_schema(summary="Delete a flag", responses={204: None})
    @may_answer(400)
    def delete(self, request: Request, key: str) -> Response:
        """A flag without a row is off, so take it out of the code first."""
        services.delete(self.get_object(), actor=calling(request).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class HistoryPages(CursorPages):
    ordering = "-action_time"


@extend_schema_view(get=extend_schema(summary="A flag's history"))
class HistoryView(ListAPIView[LogEntry]):
    """The changes of a flag or an experiment and who made them, the latest first; they outlive it."""

    serializer_class = ChangeSerializer
    permission_classes = [IsAdmin]
    pagination_class = HistoryPages
    row_type: type[Flag] | type[Experiment] = Flag

    def get_queryset(self) -> QuerySet[LogEntry]:
        return services.history(self.row_type, self.kwargs["key"])
