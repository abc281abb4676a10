"""`POST /v1/messages` and `/v1/messages/count_tokens`: https://platform.claude.com/docs/en/api/messages"""

from collections.abc import Mapping
from functools import partial

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import ForLimitedKeys, IsUser
from aichat.api.anthropic.answers import AnthropicMessage, MessageEvents, TokenCount
from aichat.api.anthropic.errors import UnsupportedThread
from aichat.api.anthropic.events import MessageFormat
from aichat.api.anthropic.schemas import CountBody, MessagesBody
from aichat.api.anthropic.translation import Translation
from aichat.api.async_views import AsyncView, beside_the_loop, parse, respond
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import ModelInfo
from aichat.core.web import responses
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation import experiments
from aichat.generation.charging import tokens
from aichat.generation.errors import STATUSES
from aichat.generation.request import GenerationRequest
from aichat.providers.base import ChatRequest
from aichat.providers.registry import chat_adapter


class MessagesView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT
    is_confirmed_late = True

    @extend_schema(
        summary="Message (Anthropic-compatible)",
        request=MessagesBody,
        responses={
            (200, "application/json"): AnthropicMessage,
            (200, "text/event-stream"): OpenApiResponse(MessageEvents, "`message_start` … `message_stop`."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """For any Anthropic client, with the address of this server as its base URL. Any model answers, `auto` too."""
        body = await parse(MessagesBody, request)
        if body.thread:
            raise UnsupportedThread
        return await respond(request, caller, partial(prepare, request, caller, body))


async def prepare(request: HttpRequest, caller: Caller, body: MessagesBody) -> tuple[GenerationRequest, MessageFormat]:
    translation = await beside_the_loop(request, Translation, body, request.headers)
    generation_request = GenerationRequest(
        caller=caller,
        model=body.model,
        messages=translation.messages,
        stream=bool(body.stream),
        max_tokens=body.max_tokens,
        is_length_a_limit=True,
        parameters=translation.parameters,
        left_out=tuple(translation.dropped),
    )
    return await experiments.treated(generation_request), MessageFormat()


class CountTokensView(AsyncView):
    permission_classes = [IsUser, ForLimitedKeys]
    scope = Scope.CHAT

    @extend_schema(
        summary="Count the tokens of a message (Anthropic-compatible)",
        request=CountBody,
        responses={200: TokenCount},
    )
    @may_answer(403, 404)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """About how many input tokens a request is: an estimate, which asks no provider and costs nothing."""
        body = await parse(CountBody, request)
        model = routing.candidates(await snapshot.ready(), caller, body.model)[0]
        count = await beside_the_loop(request, input_tokens, model, body, request.headers)
        return responses.json_response({"input_tokens": count})


def input_tokens(model: ModelInfo, body: CountBody, headers: Mapping[str, str]) -> int:
    """About how many input tokens a request is for a model."""
    translation = Translation(body, headers)
    chat = ChatRequest(model.upstream_name, translation.messages, 1, False, translation.parameters)
    return tokens.estimate_input(chat_adapter(model.provider.kind).measure(chat, model.provider.endpoint))
