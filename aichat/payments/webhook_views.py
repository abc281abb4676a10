"""Where sellers say what was paid. Nothing is believed without a signature, and nothing is answered before its commit."""

import logging
from io import BytesIO
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.models import Organization, User
from accounts.permissions import Public
from accounts.tenancy import personal_organization
from aichat.core.errors import ApiError, InvalidRequest, NotFound
from aichat.core.outbound.webhooks import PREFIX
from aichat.core.web.drf import JSONParser
from aichat.core.web.openapi import may_answer
from aichat.payments import payments, subscriptions
from aichat.payments.models import Payment, Plan, Subscription
from aichat.payments.payments import BillingUnavailable
from aichat.payments.serializers import PaymentMessageSerializer, ReceivedSerializer

logger = logging.getLogger(__name__)
HEADERS = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text)
    for name, text in (
        ("webhook-id", "The message's ID, the same at every try."),
        ("webhook-timestamp", "Seconds since 1970; at most five minutes off."),
        ("webhook-signature", "`v1,` and the HMAC-SHA256 over `ID.SECONDS.BODY` in base64."),
    )
]


class InvalidSignature(ApiError):
    status, code = 400, "invalid_signature"
    message = (
        "The signature is missing, wrong or older than five minutes: sign the body as it is sent, with our secret."
    )


class PaymentsWebhookView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(
        request=PaymentMessageSerializer,
        responses=ReceivedSerializer,
        parameters=HEADERS,
        summary="What another shop was paid",
    )
    @may_answer(404)
    def post(self, request: Request) -> Response:
        """Takes messages of any shop, signed as Standard Webhooks with `PAYMENTS_WEBHOOK_SECRET`, in any order and number.

        200 means that it is committed. 404 names an e-mail or organization that is unknown here: send it again later.
        """
        if not settings.PAYMENTS_WEBHOOK_SECRET:
            raise BillingUnavailable("This server takes no messages of shops: set PAYMENTS_WEBHOOK_SECRET.")
        body = request._request.body
        verify(settings.PAYMENTS_WEBHOOK_SECRET, body, request)
        form = PaymentMessageSerializer(data=JSONParser().parse(BytesIO(body)))
        form.is_valid(raise_exception=True)
        take(form.validated_data)
        logger.info("payment message", extra={"type": form.validated_data["type"]})
        return Response({"received": True})


def verify(secret: str, body: bytes, request: Request) -> None:
    """Raise `InvalidSignature` unless the headers sign the body with the secret, within the last five minutes."""
    key = Webhook(secret if secret.startswith(PREFIX) else secret.encode())
    try:
        key.verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library splits and decodes what a stranger sent
        raise InvalidSignature() from None


def take(facts: dict[str, Any]) -> None:
    """Do what a message says; committed when this returns."""
    source, external_id = Payment.Source.SHOP, facts["id"]
    match facts["type"]:
        case "payment.succeeded":
            paid = payments.Paid(
                source=source,
                external_id=external_id,
                credits=facts.get("credits", 0),
                plan=_plan(facts["plan"]) if "plan" in facts else None,
                period_end=facts.get("period_end"),
                period_start=facts.get("period_start"),
                subscription=facts.get("subscription", ""),
                told_at=facts.get("timestamp"),
                amount=facts["amount"],
                currency=facts["currency"],
            )
            payments.succeed(_payer(facts), paid)
        case "payment.refunded":
            payments.refund(source, external_id, facts.get("credits"))
        case _:
            told = subscriptions.Told(
                source=Subscription.Source.SHOP,
                external_id=external_id,
                plan=_plan(facts["plan"]),
                period_end=facts["period_end"],
                period_start=facts.get("period_start"),
                status=facts["status"],
                cancel_at_period_end=facts["cancel_at_period_end"],
                told_at=facts.get("timestamp"),
            )
            subscriptions.record(_payer(facts), told)


def _plan(slug: str) -> Plan:
    plan = Plan.objects.filter(slug=slug).first()
    if plan is None:
        raise InvalidRequest("There is no plan of this name: GET /api/v1/plans lists them.", param="plan")
    return plan


def _payer(facts: dict[str, Any]) -> Organization:
    """The organization that a message names. Raises `NotFound` for an unknown one, so that the shop sends it again.

    Credits are not kept for an address that nobody has here: anybody could register it first and get them.
    """
    if "organization" in facts:
        organization = Organization.objects.filter(pk=facts["organization"]).first()
        if organization is None:
            raise NotFound("There is no such organization.", param="organization")
        return organization
    user = User.objects.filter(email=User.objects.normalize_email(facts["email"])).first()
    if user is None:
        raise NotFound("Nobody has this e-mail here: send it again when they have registered.", param="email")
    return personal_organization(user)
