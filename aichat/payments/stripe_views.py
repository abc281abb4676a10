"""Paying by Stripe: its Checkout, its Customer Portal, and its webhook."""

import logging
from io import BytesIO
from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import calling
from accounts.permissions import IsUser, Public
from aichat.core.errors import InvalidRequest
from aichat.core.web.drf import JSONParser
from aichat.core.web.openapi import may_answer
from aichat.payments import stripe_api, stripe_events
from aichat.payments.managing import managed_by
from aichat.payments.models import Plan
from aichat.payments.payments import BillingUnavailable
from aichat.payments.serializers import CheckoutSerializer, PageSerializer, ReceivedSerializer
from aichat.payments.webhook_views import InvalidSignature

logger = logging.getLogger(__name__)
TOLERANCE_SECONDS = 300


def back_to(request: Request) -> str:
    """Where Stripe sends the person when they are done: our page of credits, or the root."""
    base = settings.APP_URL or request.build_absolute_uri(f"{settings.URL_PREFIX}/").rstrip("/")
    return f"{base}/credits" if settings.PORTAL else f"{base}/"


class CheckoutView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=CheckoutSerializer, responses={201: PageSerializer}, summary="Buy credits or a plan")
    @may_answer(403, 429, 503)
    def post(self, request: Request) -> Response:
        """Makes a page of Stripe's Checkout, for credits or for a plan; what was paid arrives by Stripe's webhook.

        For a team by its owners and admins. 503 `billing_unavailable` on a server that sells nothing by Stripe.
        """
        caller = calling(request)
        organization = managed_by(caller)
        form = CheckoutSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        stripe_api.client()
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "checkout", str(caller.user.pk))
        facts, how = form.validated_data, {"email": caller.user.email, "back": back_to(request)}
        if "credits" in facts:
            url = stripe_api.sell_credits(organization, credits=facts["credits"], **how)
        else:
            plan = Plan.objects.filter(slug=facts["plan"], is_active=True).first()
            if plan is None:
                raise InvalidRequest(
                    gettext("There is no plan of this name: GET /api/v1/plans lists them."), param="plan"
                )
            url = stripe_api.sell_plan(organization, plan, **how)
        return Response({"url": url}, status=status.HTTP_201_CREATED)


class PortalView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=None, responses={201: PageSerializer}, summary="Stripe's Customer Portal")
    @may_answer(400, 403, 429, 503)
    def post(self, request: Request) -> Response:
        """Makes a page of Stripe's Customer Portal: invoices, cards, the end of a subscription. By owners and admins."""
        stripe_api.client()
        caller = calling(request)
        organization = managed_by(caller)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "checkout", str(caller.user.pk))
        url = stripe_api.portal(organization, back=back_to(request))
        return Response({"url": url}, status=status.HTTP_201_CREATED)


class StripeWebhookView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(
        request={"application/json": {"type": "object", "description": "An event of Stripe's."}},
        responses=ReceivedSerializer,
        parameters=[OpenApiParameter("Stripe-Signature", str, OpenApiParameter.HEADER)],
        summary="What Stripe was paid",
    )
    @may_answer(409, 503)
    def post(self, request: Request) -> Response:
        """Takes Stripe's events, signed with `STRIPE_WEBHOOK_SECRET`, in any order and number. 200: it is committed."""
        body = request._request.body
        verify(body, request.headers.get("Stripe-Signature", ""))
        event: Any = JSONParser().parse(BytesIO(body))
        if not isinstance(event, dict) or event.get("object") != "event":
            raise InvalidRequest("This is no event of Stripe's.")
        stripe_events.take(event)
        logger.info("Stripe event", extra={"type": event.get("type"), "event": event.get("id")})
        return Response({"received": True})


def verify(body: bytes, header: str) -> None:
    """Raise `InvalidSignature` unless Stripe signed the body with our secret within the last five minutes.

    Raises `BillingUnavailable` without the secret: signatures of an empty one can be made by anybody.
    """
    secret = settings.STRIPE_WEBHOOK_SECRET.strip()
    if not secret:
        raise BillingUnavailable("This server takes no messages of Stripe: set STRIPE_WEBHOOK_SECRET.")
    try:
        import stripe  # optional
    except ImportError:
        raise BillingUnavailable("This server takes no messages of Stripe: the package stripe is missing.") from None
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError, TypeError):  # the library decodes what a stranger sent
        raise InvalidSignature() from None
