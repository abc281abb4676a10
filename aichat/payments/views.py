"""The endpoints of plans, subscriptions and vouchers: for those who pay, and for administrators."""

from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import calling
from accounts.models import Organization, User
from accounts.permissions import IsAdmin, IsUser
from accounts.tenancy import as_id, personal_organization
from aichat.core.errors import InvalidRequest, NotFound
from aichat.core.web.openapi import charges, may_answer
from aichat.idempotency.drf import once
from aichat.payments import subscriptions, vouchers
from aichat.payments.models import Plan, Subscription
from aichat.payments.serializers import (
    GivenSubscriptionSerializer,
    NewSubscriptionSerializer,
    NewVouchersSerializer,
    PlanSerializer,
    RedeemedSerializer,
    RedeemSerializer,
    SubscriptionSerializer,
    VoucherCodesSerializer,
)

NO_SUBSCRIPTION = {
    "plan": None,
    "status": "none",
    "period_start": None,
    "period_end": None,
    "cancel_at_period_end": False,
    "source": None,
}


class PlansView(APIView):
    permission_classes = [IsUser]

    @extend_schema(operation_id="plans_list", responses=PlanSerializer(many=True), summary="Plans")
    def get(self, request: Request) -> Response:
        """What can be subscribed to here, the cheapest first."""
        return Response(PlanSerializer(Plan.objects.filter(is_active=True).order_by("price", "slug"), many=True).data)


class AdminPlansView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(request=PlanSerializer, responses={201: PlanSerializer}, summary="Make a plan")
    def post(self, request: Request) -> Response:
        """Makes a plan, which is offered from then on. Change it, or offer it no more, in the admin."""
        form = PlanSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        plan = subscriptions.make_plan(**form.validated_data, actor=calling(request).user)
        return Response(PlanSerializer(plan).data, status=status.HTTP_201_CREATED)


def described(row: Subscription) -> dict[str, Any]:
    """The members of a subscription's answer."""
    return {
        "id": row.pk,
        "organization": row.organization_id,
        "plan": row.plan.slug if row.plan else None,
        "status": row.status_at(timezone.now()),
        "period_start": row.period_start,
        "period_end": row.period_end,
        "cancel_at_period_end": row.cancel_at_period_end,
        "source": row.source,
    }


class SubscriptionView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses=SubscriptionSerializer, summary="My subscription")
    def get(self, request: Request) -> Response:
        """The subscription of the organization one acts for: the live one, else the last one."""
        row = subscriptions.current(calling(request).organization)
        return Response(SubscriptionSerializer(described(row) if row else NO_SUBSCRIPTION).data)


class AdminSubscriptionsView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(
        request=NewSubscriptionSerializer, responses={201: GivenSubscriptionSerializer}, summary="Give a subscription"
    )
    @may_answer(404, 409)
    @charges()
    def post(self, request: Request) -> HttpResponseBase:
        """Gives a person or an organization a plan from now on; a subscription that was given before ends.

        The plan's credits come now and anew each interval, until the `period_end` or until somebody ends the subscription.
        """
        return once(request, lambda: self.give(request))

    def give(self, request: Request) -> Response:
        form = NewSubscriptionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        facts = form.validated_data
        plan = Plan.objects.filter(slug=facts["plan"]).first()
        if plan is None:
            raise InvalidRequest("There is no plan of this name: GET /api/v1/plans lists them.", param="plan")
        organization = _organization_of(facts)
        row = subscriptions.give(organization, plan, period_end=facts["period_end"], actor=calling(request).user)
        return Response(GivenSubscriptionSerializer(described(row)).data, status=status.HTTP_201_CREATED)


def _organization_of(facts: dict[str, Any]) -> Organization:
    """The organization that a body names, directly or by its person. Raises `NotFound`."""
    if "organization" in facts:
        organization = Organization.objects.filter(pk=facts["organization"]).first()
        if organization is None:
            raise NotFound("There is no such organization.", param="organization")
        return organization
    name = facts["user"]
    key = {"email": User.objects.normalize_email(name)} if "@" in name else {"pk": as_id(name, "user")}
    user = User.objects.filter(**key).first()
    if user is None:
        raise NotFound("There is no such user.", param="user")
    return personal_organization(user)


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
