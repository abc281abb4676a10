"""The REST endpoints of the administration. Only administrators may call them; the audit log records every write."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services
from accounts.authentication import calling
from accounts.models import Role, User
from accounts.permissions import IsAdmin
from accounts.tenancy import as_id, personal_organization
from admin_dashboard.api.serializers import AdminUserSerializer, ModelSerializer, MoveCreditsSerializer
from admin_dashboard.reports import requests
from admin_dashboard.reports.reconciliation import COLUMNS, Reconciliation
from admin_dashboard.reports.statistics import Statistics, written
from aichat.catalog import editing
from aichat.catalog.models import AIModel
from aichat.core.errors import InvalidRequest, NotFound
from aichat.core.web.csv_export import CSVRenderer, csv_response
from aichat.core.web.drf import CursorPages
from aichat.core.web.openapi import charges, may_answer
from aichat.idempotency.drf import once
from aichat.usage import queries
from aichat.usage.query_params import GROUPS, group_of, named, ordered, window_of
from credits.administration import change_balance
from credits.serializers import LedgerEntrySerializer
from credits.services import wallet_of

USAGE_GROUPS = ("day", "kind", "model", "provider", "user", "organization", "variant", "api_key")
ANY = {(200, "application/json"): OpenApiResponse({"type": "object"})}
WINDOW = [
    OpenApiParameter("from", str, description="A day or a moment (ISO 8601, UTC); by default 30 days back."),
    OpenApiParameter("to", str, description="A day (included) or a moment; by default now."),
]
MOST_ROWS = 10_000  # in a JSON answer; the CSV answer has all rows


class StatsView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(summary="Statistics", parameters=WINDOW, responses=ANY)
    def get(self, request: Request) -> Response:
        """Return the totals of a time window and its sums by day, provider and model, up to the last settled request."""
        return Response(Statistics.of(window_of(request.query_params)).body())


# --- Users ------------------------------------------------------------------------------------------------------------


class UserPages(CursorPages):
    """Pages users by cursor, in the order that the query parameter `ordering` names."""

    ordering = "-created_at"
    allowed = ("created_at", "email", "role", "last_login")

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        wanted = request.query_params.get("ordering") or self.ordering
        if wanted.removeprefix("-") not in self.allowed:
            raise InvalidRequest(f"Order by one of {', '.join(self.allowed)}, with - for descending.", param="ordering")
        return (wanted, "id")


def users() -> QuerySet[User]:
    return User.objects.select_related("personal_organization__wallet")


class UsersView(ListAPIView[User]):
    """All users; the query parameter `search` looks at e-mail and name."""

    serializer_class = AdminUserSerializer
    permission_classes = [IsAdmin]
    pagination_class = UserPages

    def get_queryset(self) -> QuerySet[User]:
        query, found = self.request.query_params, users()
        if term := query.get("search", "").strip():
            found = found.filter(Q(email__icontains=term) | Q(name__icontains=term))
        if role := query.get("role"):
            if role.upper() not in list(Role):
                raise InvalidRequest(f"Roles are {', '.join(Role)}.", param="role")
            found = found.filter(role=role.upper())
        if active := query.get("is_active"):
            if active not in ("true", "false"):
                raise InvalidRequest("Write true or false.", param="is_active")
            found = found.filter(is_active=active == "true")
        return found

    @extend_schema(
        operation_id="admin_users_list",
        summary="Users",
        parameters=[
            OpenApiParameter("search", str, description="Part of the e-mail or name."),
            OpenApiParameter("role", str, enum=list(Role)),
            OpenApiParameter("is_active", bool),
            OpenApiParameter("ordering", str, description=f"{', '.join(UserPages.allowed)}; - for descending."),
        ],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return all users, the newest first unless `ordering` says otherwise."""
        return super().get(request, *args, **kwargs)


def user_or_404(user_id: UUID) -> User:
    found = users().filter(pk=user_id).first()
    if found is None:
        raise NotFound()
    return found


class UserView(GenericAPIView[User]):
    serializer_class = AdminUserSerializer
    permission_classes = [IsAdmin]

    @extend_schema(operation_id="admin_users_retrieve", summary="One user")
    def get(self, request: Request, user_id: UUID) -> Response:
        """Return one user, with their credits and when they were last seen."""
        return Response(AdminUserSerializer(user_or_404(user_id)).data)

    @extend_schema(operation_id="admin_users_partial_update", summary="Change a user's role, or switch them off")
    def patch(self, request: Request, user_id: UUID) -> Response:
        """Change a user's `role` or `is_active`, nothing else. The last active administrator can lose neither."""
        user = user_or_404(user_id)
        form = AdminUserSerializer(user, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        facts = form.validated_data
        role = Role(facts["role"]) if "role" in facts else None
        services.change_user(user, role=role, is_active=facts.get("is_active"), actor=calling(request).user)
        return Response(AdminUserSerializer(user_or_404(user_id)).data)


class UserCreditsView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(
        operation_id="admin_users_credits_create",
        summary="Grant credits, or take them away",
        request=MoveCreditsSerializer,
        responses={201: LedgerEntrySerializer},
    )
    @may_answer(402, 409)
    @charges()
    def post(self, request: Request, user_id: UUID) -> HttpResponseBase:
        """Grant credits to the user's personal organization; a negative amount is an adjustment. Answers the ledger entry.

        A request with an `Idempotency-Key` may be sent again: it grants once.
        """
        return once(request, lambda: self.move(request, user_id))

    def move(self, request: Request, user_id: UUID) -> Response:
        user = user_or_404(user_id)
        form = MoveCreditsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wallet = wallet_of(personal_organization(user))
        entry = change_balance(wallet, **form.validated_data, actor=calling(request).user)
        return Response(LedgerEntrySerializer(entry).data, status=status.HTTP_201_CREATED)


# --- Usage ------------------------------------------------------------------------------------------------------------


class UsageView(APIView):
    permission_classes = [IsAdmin]
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        summary="Usage of everybody",
        operation_id="admin_usage_list",
        parameters=[
            OpenApiParameter("group_by", str, enum=USAGE_GROUPS, default="day"),
            OpenApiParameter("format", str, enum=["json", "csv"], default="json"),
            *WINDOW,
        ],
        responses={**ANY, (200, "text/csv"): OpenApiResponse({"type": "string"})},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Usage figures by day, kind, model, provider, user, organization, variant or API key; CSV answers are streamed."""
        window, group = window_of(request.query_params), group_of(request.query_params, USAGE_GROUPS)
        groups = queries.sums(window, GROUPS[group])
        rows = ordered(group, groups)
        as_csv = request.accepted_renderer.format == "csv"
        rows = rows if as_csv else rows[:MOST_ROWS]
        names = named(group, [key for key, _ in rows])
        results = ({**names[key], **written(row)} for key, row in rows)
        if as_csv:
            return csv_response(request._request, results, f"usage-by-{group}.csv")
        totals = written(queries.total(groups))
        body = {"from": window.start, "to": window.end, "group_by": group, "totals": totals, "results": list(results)}
        return Response(body)


class ReconciliationView(APIView):
    permission_classes = [IsAdmin]
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        summary="Cost reconciliation",
        operation_id="admin_reconciliation",
        parameters=[OpenApiParameter("format", str, enum=["json", "csv"], default="json"), *WINDOW],
        responses={**ANY, (200, "text/csv"): OpenApiResponse({"type": "string"})},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Return the cost that providers should bill and the credits charged, by day and model, with the estimated share.

        `prices` lists the models whose price is unknown, has changed in the price library, or was set by an operator and
        differs from the library's; each entry says how to mend it. CSV answers are streamed.
        """
        found = Reconciliation.of(window_of(request.query_params))
        if request.accepted_renderer.format == "csv":
            return csv_response(request._request, found.written_rows(), "reconciliation.csv", COLUMNS)
        return Response(found.body())


class RequestView(APIView):
    permission_classes = [IsAdmin]

    @extend_schema(
        summary="Everything one request did",
        responses=ANY,
        parameters=[OpenApiParameter("organization", UUID, description="Only what belongs to this organization.")],
    )
    def get(self, request: Request, request_id: str) -> Response:
        """Return all attempts, holds, ledger entries, messages, image jobs and administrators' changes with the request ID.

        Clients choose request IDs, and two organizations may choose the same: `organizations` lists whose rows these are.
        """
        chosen = request.query_params.get("organization")
        rows = requests.found(request_id, as_id(chosen, "organization") if chosen else None)
        if not any(rows.values()):
            raise NotFound("Nothing carries this request ID.")
        return Response(requests.written(request_id, rows))


# --- Models -----------------------------------------------------------------------------------------------------------


class ModelPages(CursorPages):
    ordering = "slug"


@extend_schema_view(get=extend_schema(summary="All models"))
class ModelsView(ListAPIView[AIModel]):
    """All models of the catalog, with the prices in force."""

    serializer_class = ModelSerializer
    permission_classes = [IsAdmin]
    pagination_class = ModelPages

    def get_queryset(self) -> QuerySet[AIModel]:
        return editing.with_prices(AIModel.objects.all())

    @extend_schema(operation_id="admin_models_list", summary="Models")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return every model of the catalog, enabled or not, with the prices in force."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="admin_models_create", summary="Add a model", responses={201: ModelSerializer})
    def post(self, request: Request) -> Response:
        """Add a model. One without a price, neither given nor known to the price library, is stored disabled."""
        form = ModelSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        model = save_model(AIModel(), form.validated_data, request)
        return Response(ModelSerializer(model).data, status=status.HTTP_201_CREATED)


class ModelView(GenericAPIView[AIModel]):
    serializer_class = ModelSerializer
    permission_classes = [IsAdmin]

    def get_object(self) -> AIModel:
        found = AIModel.objects.select_related("provider").filter(slug=self.kwargs["slug"]).first()
        if found is None:
            raise NotFound()
        return found

    @extend_schema(operation_id="admin_models_retrieve", summary="One model")
    def get(self, request: Request, slug: str) -> Response:
        """Return one model, with the prices in force."""
        return Response(ModelSerializer(self.get_object()).data)

    @extend_schema(operation_id="admin_models_partial_update", summary="Change a model or its prices")
    def patch(self, request: Request, slug: str) -> Response:
        """Change a model. A new price holds from now on; what was charged before keeps the old price."""
        model = self.get_object()
        form = ModelSerializer(model, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        return Response(ModelSerializer(save_model(model, form.validated_data, request)).data)

    @extend_schema(operation_id="admin_models_destroy", summary="Remove a model", responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        """Delete a model with its prices. To take a model out of use and keep it, set `enabled: false`."""
        editing.delete(self.get_object(), actor=calling(request).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def save_model(model: AIModel, facts: dict[str, Any], request: Request) -> AIModel:
    amounts = {name: facts.pop(name, None) for name in editing.AMOUNTS}
    if "provider" in facts:
        facts["provider"] = editing.provider_named(facts["provider"]["slug"])
    editing.save(model, fields=facts, amounts=amounts, actor=calling(request).user)
    return model
