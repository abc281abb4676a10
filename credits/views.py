"""A caller's own credits."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsUser
from aichat.rest import CursorPages
from credits import services
from credits.models import LedgerEntry
from credits.serializers import LedgerEntrySerializer, WalletSerializer


class CreditsView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses=WalletSerializer, summary="Balance")
    def get(self, request: Request) -> Response:
        """The organization's credits: in all, held by running requests, and free to spend."""
        caller = calling(request)
        return Response(WalletSerializer(services.wallet_of(caller.organization)).data)


class EntryPages(CursorPages):
    ordering = "-sequence"


@extend_schema_view(get=extend_schema(summary="Ledger entries"))
class EntriesView(ListAPIView[LedgerEntry]):
    """Every movement of the organization's credits, newest first."""

    permission_classes = [IsUser]
    serializer_class = LedgerEntrySerializer
    pagination_class = EntryPages

    def get_queryset(self) -> Any:
        caller = calling(self.request)
        return LedgerEntry.objects.filter(wallet_id=services.wallet_of(caller.organization).pk)
