"""A caller's own credits."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import leaving, rate_limits
from accounts.authentication import Caller, calling
from accounts.models import Membership, User
from accounts.permissions import IsUser, Public
from accounts.serializers import (
    LeaveSerializer,
    LeavingSerializer,
    MailTokenSerializer,
    OwnOrganizationSerializer,
    UserSerializer,
)
from aichat.core.errors import InvalidRequest, PermissionDenied
from aichat.core.web.drf import CursorPages
from aichat.core.web.openapi import may_answer
from credits import services, starter
from credits.lots import lots_of
from credits.models import LedgerEntry
from credits.serializers import CreditsSerializer, LedgerEntrySerializer, LotSerializer, WalletSerializer
from credits.services import wallet_of


class MeSerializer(serializers.ModelSerializer[User]):
    organization = OwnOrganizationSerializer(read_only=True)
    organizations = OwnOrganizationSerializer(many=True, read_only=True)
    credits = WalletSerializer(read_only=True)

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "organization", "organizations", "credits"]


class MeView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses=MeSerializer, summary="My account")
    def get(self, request: Request) -> Response:
        """The caller, the organization they act for, and its credits."""
        return Response(self.describe(calling(request)))

    @extend_schema(request=UserSerializer, responses=MeSerializer, summary="Change my name, language, or consent")
    def patch(self, request: Request) -> Response:
        """Changes the caller's `name`, `language` or `analytics_consent`.

        The consent says whether product events may leave the house; null: the caller did not say.
        """
        caller = calling(request)
        form = UserSerializer(caller.user, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        form.save()
        return Response(self.describe(caller))

    @extend_schema(request=LeaveSerializer, responses={202: LeavingSerializer}, summary="Delete my account")
    @may_answer(400, 403, 429)
    def delete(self, request: Request) -> Response:
        """All logins end; after `ACCOUNT_DELETION_GRACE_DAYS` everything personal is erased, and until then a login takes
        it back. Entries of the ledger and usage stay without the person. The only owner of a team with other members
        makes one of them an owner first."""
        caller = calling(request)
        form = LeaveSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "password", str(caller.user.pk))
        if caller.user.has_usable_password():
            if not caller.user.check_password(form.validated_data["password"]):
                raise InvalidRequest(gettext("This is not your password."), param="password")
        elif caller.api_key:
            raise PermissionDenied("This is an API key: delete the account with your identity provider's token.")
        return Response({"deletion_at": leaving.ask(caller.user)}, status=status.HTTP_202_ACCEPTED)

    def describe(self, caller: Caller) -> dict[str, Any]:
        memberships = Membership.objects.select_related("organization").filter(user=caller.user)
        organizations = OwnOrganizationSerializer(memberships.order_by("created_at", "id"), many=True).data
        current = str(caller.organization.pk)
        return {
            **UserSerializer(caller.user).data,
            "organization": next((each for each in organizations if each["id"] == current), None),
            "organizations": organizations,
            "credits": WalletSerializer(wallet_of(caller.organization)).data,
        }


class VerifyEmailView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=MailTokenSerializer, responses={204: None}, summary="Confirm an address by mailed code")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Confirms the address to which the code was mailed. With EMAIL_VERIFICATION=required the person gets their starter
        credits now. The code is good once."""
        form = MailTokenSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "mail token", "address", rate_limits.network_of(request))
        starter.confirm_email(form.validated_data["token"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class CreditsView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses=CreditsSerializer, summary="Balance")
    def get(self, request: Request) -> Response:
        """The organization's credits: in all, held by running requests, and free to spend; and their lots.

        A lot is credits of one source and expiry. Lots are spent in this order: soonest to expire first, bought credits last.
        What is held is still counted in its lot.
        """
        wallet = services.wallet_of(calling(request).organization)
        lots = LotSerializer(lots_of(wallet.pk), many=True)
        return Response({**WalletSerializer(wallet).data, "lots": lots.data})


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
