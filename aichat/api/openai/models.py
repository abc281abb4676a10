"""`GET /v1/models`: https://platform.openai.com/docs/api-reference/models"""

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
        auto = {"id": routing.AUTO, "object": "model", "created": created, "owned_by": "aichat"}
        return Response({"object": "list", "data": [auto, *(describe(model) for model in models)]})


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
    return {"id": model.slug, "object": "model", "created": model.created, "owned_by": model.provider.slug}
