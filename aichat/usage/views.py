"""A caller's own usage."""

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsUser
from aichat.core.web.csv_export import CSVRenderer, csv_response
from aichat.core.web.middleware import policy
from aichat.usage.queries import sums, total
from aichat.usage.query_params import GROUPS, group_of, named, ordered, own_figures, window_of
from aichat.usage.statements import COLUMNS, Statement, csv_rows, month_of

OWN_GROUPS = ("day", "kind", "model", "api_key")
WINDOW = [
    OpenApiParameter("from", str, description="A day or a moment (ISO 8601, UTC); by default 30 days back."),
    OpenApiParameter("to", str, description="A day (included) or a moment; by default now."),
]


class UsageView(APIView):
    permission_classes = [IsUser]

    @extend_schema(
        summary="My usage",
        parameters=[OpenApiParameter("group_by", str, enum=OWN_GROUPS, default="day"), *WINDOW],
        responses={(200, "application/json"): OpenApiResponse({"type": "object"})},
    )
    def get(self, request: Request) -> Response:
        """What the caller used in their organization and what it cost, in credits; up to the last request."""
        caller, window = calling(request), window_of(request.query_params)
        group = group_of(request.query_params, OWN_GROUPS)
        groups = sums(window, GROUPS[group], user=caller.user, organization=caller.organization)
        names = named(group, groups)
        results: list[dict[str, Any]] = [
            {**names[key], **own_figures(figures)} for key, figures in ordered(group, groups)
        ]
        return Response(
            {
                "from": window.start,
                "to": window.end,
                "group_by": group,
                "totals": own_figures(total(groups)),
                "results": results,
            }
        )


class PageRenderer(CSVRenderer):
    """Lets a client ask for a page (`format=html`); the view makes the page itself, and errors stay JSON."""

    media_type, format = "text/html", "html"


def printable(body: dict[str, Any], name: str) -> HttpResponse:
    """A statement as a page that prints well and can be kept: it needs nothing but itself."""
    titles = [(part, part.replace("_", " ").capitalize()) for part in body["totals"]]
    context = {
        "body": body,
        "name": name,
        "totals": [(title, body["totals"][part]) for part, title in titles],
        "sections": [(title, body[part]) for part, title in titles if part != "charges"],
    }
    response = HttpResponse(render_to_string("usage/statement.html", context))
    response["Content-Security-Policy"] = policy(style_src="'unsafe-inline'")
    return response


class StatementView(APIView):
    permission_classes = [IsUser]
    renderer_classes = [JSONRenderer, CSVRenderer, PageRenderer]

    @extend_schema(
        operation_id="statements_retrieve",
        summary="A month's statement",
        parameters=[
            OpenApiParameter("month", str, OpenApiParameter.PATH, description="Such as 2026-11 (UTC)."),
            OpenApiParameter("format", str, enum=["json", "csv", "html"], default="json"),
        ],
        responses={
            (200, "application/json"): OpenApiResponse({"type": "object"}),
            (200, "text/csv"): OpenApiResponse({"type": "string"}),
            (200, "text/html"): OpenApiResponse({"type": "string"}),
        },
    )
    def get(self, request: Request, month: str) -> HttpResponseBase:
        """The organization's credits in a month: opening balance, money in, charges by day and model, closing balance.

        `first_digest` and `last_digest` are those of the ledger's chain: `manage.py verify_statement` proves a statement.
        `format=html` is a page to print.
        """
        organization = calling(request).organization
        body = Statement.of(organization.pk, month_of(month)).body()
        if request.accepted_renderer.format == "html":
            return printable(body, organization.name)
        if request.accepted_renderer.format == "csv":
            return csv_response(request._request, csv_rows(body), f"statement-{body['month']}.csv", COLUMNS)
        return Response(body)
