"""`GET /v1/models`: https://platform.openai.com/docs/api-reference/models"""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Caller, calling
from accounts.permissions import ANY_SCOPE, IsUser
from aichat.api.openai.answers import ModelEntry, ModelList
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.core.money import format_credits
from aichat.core.web.drf import AnyAccept


class ModelsView(APIView):
    permission_classes = [IsUser]
    scope = ANY_SCOPE
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="models_list",
        summary="List models (OpenAI-compatible)",
        responses={200: ModelList},
    )
    def get(self, request: Request) -> Response:
        """The models the caller can use; `auto` is the default route."""
        catalog, caller = snapshot.current(), calling(request)
        models = routing.listed(catalog, caller)
        created = min((model.created for model in models), default=0)
        data = [describe(model) for model in models]
        if not (caller.api_key and caller.api_key.allowed_models) or has_default_route(catalog, caller):
            data.insert(0, {**entry(routing.AUTO, created, "aichat"), "kind": "chat"})
        ends = {
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
        return Response({"object": "list", "data": data, **ends})


class ModelView(APIView):
    permission_classes = [IsUser]
    scope = ANY_SCOPE
    content_negotiation_class = AnyAccept

    @extend_schema(summary="One model (OpenAI-compatible)", responses={200: ModelEntry})
    def get(self, request: Request, slug: str) -> Response:
        """404 `model_not_found` unless the caller can use it."""
        catalog = snapshot.current()
        if slug == routing.AUTO:
            first = routing.candidates(catalog, calling(request), slug)[0]
            return Response({**describe(first), "id": slug, "owned_by": "aichat"})
        model = catalog.get(slug)
        if model is None or not model.is_offered or not model.is_open_to(calling(request)):
            raise routing.ModelNotFound(slug)
        return Response(describe(model))


def has_default_route(catalog: Catalog, caller: Caller) -> bool:
    """Whether `auto` leads the caller to any model."""
    try:
        return bool(routing.candidates(catalog, caller, routing.AUTO))
    except (routing.ModelNotFound, routing.ModelNotAllowed):
        return False


def describe(model: ModelInfo) -> dict[str, Any]:
    """A model, with what it takes and what it costs in credits: a million tokens, a request, a picture."""
    facts = {
        "kind": model.kind,
        "vision": model.vision,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
    }
    if model.rates is not None:
        prices = {
            "input": model.rates.price.input,
            "output": model.rates.price.output,
            "request": model.rates.request_price,
            "image": model.rates.image_price,
        }
        facts["prices"] = {name: format_credits(price) for name, price in prices.items()}
    return {**entry(model.slug, model.created, model.provider.slug), **facts}


def entry(slug: str, created: int, owner: str) -> dict[str, Any]:
    """A model for the clients of both vendors; `created` is in seconds since 1970.

    Anthropic's are `type`, `display_name` and `created_at`: https://platform.claude.com/docs/en/api/models
    """
    openai = {"id": slug, "object": "model", "created": created, "owned_by": owner}
    moment = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return {**openai, "type": "model", "display_name": slug, "created_at": moment}
