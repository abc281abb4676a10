"""Money that comes in, for those who pay and for administrators."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import calling
from accounts.permissions import IsAdmin, IsUser
from aichat.core.web.openapi import may_answer
from aichat.payments import vouchers
from aichat.payments.serializers import (
    NewVouchersSerializer,
    RedeemedSerializer,
    RedeemSerializer,
    VoucherCodesSerializer,
)


class RedeemView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=RedeemSerializer, responses=RedeemedSerializer, summary="Redeem a voucher")
    @may_answer(404, 429)
    def post(self, request: Request) -> Response:
        """Gives the organization the voucher's credits. The same person gets them once, and the same answer each time.

        404 `voucher_invalid` for a code that is unknown, mistyped, spent or expired. Limited like logins.
        """
        caller = calling(request)
        form = RedeemSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "voucher", str(caller.user.pk))
        credits, available = vouchers.redeem(
            form.validated_data["code"], user=caller.user, organization=caller.organization
        )
        return Response(RedeemedSerializer({"credits": credits, "available": available}).data)


class VouchersView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(request=NewVouchersSerializer, responses={201: VoucherCodesSerializer}, summary="Make vouchers")
    def post(self, request: Request) -> Response:
        """Makes `count` vouchers of `credits` each. Their codes are in this answer alone: only digests are stored."""
        form = NewVouchersSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        facts = dict(form.validated_data)
        codes = vouchers.make_vouchers(facts.pop("credits"), **facts, actor=calling(request).user)
        return Response({"codes": codes}, status=status.HTTP_201_CREATED)
