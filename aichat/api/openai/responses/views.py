"""`POST /v1/responses`"""

from functools import partial

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, beside_the_loop, parse, respond
from aichat.api.openai.responses import kept_items
from aichat.api.openai.responses.answers import Response, ResponseEvents
from aichat.api.openai.responses.events import ResponseFormat
from aichat.api.openai.responses.schemas import Item, ResponsesBody
from aichat.api.openai.responses.translation import Translation
from aichat.core.database import executor
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation import experiments
from aichat.generation.errors import STATUSES
from aichat.generation.request import GenerationRequest, no_rows


class ResponsesView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT
    is_confirmed_late = True

    @extend_schema(
        summary="Response (OpenAI-compatible)",
        request=ResponsesBody,
        responses={
            (200, "application/json"): Response,
            (200, "text/event-stream"): OpenApiResponse(ResponseEvents, "`response.created` … `response.completed`."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """For any client of the Responses API. Each request brings its whole conversation, or refers to items of late."""
        body = await parse(ResponsesBody, request)
        return await respond(request, caller, partial(prepare, request, caller, body))


# The client's names for what OpenAI's chat vocabulary calls otherwise.
NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


async def prepare(
    request: HttpRequest, caller: Caller, body: ResponsesBody
) -> tuple[GenerationRequest, ResponseFormat]:
    translation = await beside_the_loop(request, Translation, body, await kept(caller, body))
    response_format = ResponseFormat(body, translation.tools)
    is_kept = body.store is not False and settings.RESPONSE_ITEMS_TTL
    generation_request = GenerationRequest(
        caller=caller,
        model=body.model,
        messages=translation.messages,
        stream=bool(body.stream),
        max_tokens=body.max_output_tokens,
        param_names=NAMES,
        parameters=translation.parameters,
        left_out=tuple(translation.dropped),
        rows_to_save=kept_items.rows_of(caller, response_format.items) if is_kept else no_rows,
    )
    return await experiments.treated(generation_request), response_format


async def kept(caller: Caller, body: ResponsesBody) -> dict[str, Item]:
    """The items that the request refers to; the database is asked only when there are any."""
    items = body.input if isinstance(body.input, list) else []
    ids = [str(item.get("id")) for item in items if item.get("type") == "item_reference"]
    return await executor.run(kept_items.find, caller, ids) if ids else {}
