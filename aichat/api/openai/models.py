"""`GET /v1/models`: https://platform.openai.com/docs/api-reference/models"""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsUser
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import ModelInfo
from aichat.core.web.drf import AnyAccept
from aichat.core.web.openapi import ANY_OBJECT


class ModelsView(APIView):
    permission_classes = [IsUser]
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="models_list",
        summary="List models (OpenAI-compatible)",
        responses={200: OpenApiResponse(ANY_OBJECT)},
    )
    def get(self, request: Request) -> Response:
        """The models the caller can use; `auto` is the default route."""
        models = routing.listed(snapshot.current(), calling(request))
        created = min((model.created for model in models), default=0)
        data = [entry(routing.AUTO, created, "aichat"), *(describe(model) for model in models)]
        ends = {"has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return Response({"object": "list", "data": data, **ends})


class ModelView(APIView):
    permission_classes = [IsUser]
    content_negotiation_class = AnyAccept

    @extend_schema(summary="One model (OpenAI-compatible)", responses={200: OpenApiResponse(ANY_OBJECT)})
    def get(self, request: Request, slug: str) -> Response:
        """404 `model_not_found` unless the caller can use it."""
        catalog = snapshot.current()
        if slug == routing.AUTO:
            first = routing.candidates(catalog, calling(request), slug)[0]
            return Response({**describe(first), "id": slug, "owned_by": "aichat"})
        model = catalog.get(slug)
        if model is None or not model.is_callable or not model.is_open_to(calling(request)):
            raise routing.ModelNotFound(slug)
        return Response(describe(model))


def describe(model: ModelInfo) -> dict[str, Any]:
    return entry(model.slug, model.created, model.provider.slug)


def entry(slug: str, created: int, owner: str) -> dict[str, Any]:
    """A model for the clients of both vendors; `created` is in seconds since 1970.

    Anthropic's are `type`, `display_name` and `created_at`: https://platform.claude.com/docs/en/api/models
    """
    openai = {"id": slug, "object": "model", "created": created, "owned_by": owner}
    moment = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return {**openai, "type": "model", "display_name": slug, "created_at": moment}
