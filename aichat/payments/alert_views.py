"""An organization's alerts: a low balance, and shares of a month's budget."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsUser, NotForLimitedKeys
from aichat.core.outbound import mail
from aichat.core.web.openapi import may_answer
from aichat.payments import alerts
from aichat.payments.managing import managed_by
from aichat.payments.serializers import AlertsSerializer


class AlertsView(APIView):
    permission_classes = [IsUser, NotForLimitedKeys]

    @extend_schema(responses=AlertsSerializer, summary="My alerts")
    @may_answer(403)
    def get(self, request: Request) -> Response:
        """What the caller's organization is told of, and where. For owners and admins: the addresses are secrets."""
        return Response(AlertsSerializer(alerts.settings_of(managed_by(calling(request)))).data)

    @extend_schema(request=AlertsSerializer, responses=AlertsSerializer, summary="Set my alerts")
    @may_answer(403)
    def put(self, request: Request) -> Response:
        """Sets all alerts: what the body leaves out gets its default. Each crossing is told once to each address.

        503 `mail_unavailable` for an `email` on a server that sends no mail.
        """
        organization = managed_by(calling(request))
        form = AlertsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        columns: dict[str, Any] = dict(form.validated_data)
        if columns["email"]:
            mail.require()
        return Response(AlertsSerializer(alerts.set_alerts(organization, columns)).data)
