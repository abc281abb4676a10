"""`POST /api/v1/chat` and the conversations behind it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView, ListAPIView, RetrieveUpdateDestroyAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import Caller, calling
from accounts.models import Scope
from accounts.permissions import ForLimitedKeys, IsUser
from accounts.tenancy import owned
from aichat.api import stops
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.headers import answer_headers, stream_headers
from aichat.catalog import snapshot
from aichat.chat import search, services, sharing, turns
from aichat.chat.attachments import with_urls
from aichat.chat.models import Conversation, Feedback, Message
from aichat.chat.schemas import ChatBody, ChatDelta, StopBody
from aichat.chat.serializers import (
    ChatAnswerSerializer,
    ConversationRowSerializer,
    ConversationSerializer,
    FeedbackSerializer,
    MessageSerializer,
    NewShareSerializer,
    ShareSerializer,
)
from aichat.chat.turns import Turn
from aichat.core.database import executor
from aichat.core.errors import ApiError, InvalidRequest, NotFound, PermissionDenied
from aichat.core.money import format_credits
from aichat.core.telemetry import tracing
from aichat.core.web import drf, responses, sse
from aichat.core.web.answer_models import events
from aichat.core.web.drf import StrictMembers
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.flags.rules import Treatment
from aichat.generation import experiments
from aichat.generation.errors import STATUSES
from aichat.generation.request import (
    Completed,
    Failed,
    Freshness,
    GenerationEvent,
    GenerationRequest,
    Piece,
    Result,
)


class OwnersPrompt(PermissionDenied):
    message = "The system prompt of a shared conversation is its owner's: leave `system` out."


class ChatView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT
    is_confirmed_late = True

    @extend_schema(
        summary="Chat",
        request=ChatBody,
        responses={
            (200, "application/json"): ChatAnswerSerializer,
            (200, "text/event-stream"): OpenApiResponse(
                events(ChatDelta, "ChatAnswer", "Error"),
                "`event: delta` …, then `event: completed` (the object) or `event: error`.",
            ),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """One turn of a conversation, paid by what it used. With `stream: true` the answer is an event stream."""
        body = await parse(ChatBody, request)
        return await respond(request, caller, partial(prepare, caller, body))


class StopView(AsyncView):
    permission_classes = [IsUser, ForLimitedKeys]  # whoever may begin an answer that costs may end it
    scope = Scope.CHAT

    @extend_schema(summary="Stop an answer", request=StopBody, responses={202: None})
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """End an answer of the caller's that was asked for with `finish`: what had arrived is stored and charged."""
        body = await parse(StopBody, request)
        await stops.stop(caller, body.message_id)
        return HttpResponse(status=status.HTTP_202_ACCEPTED)


async def prepare(caller: Caller, body: ChatBody) -> tuple[GenerationRequest, "ChatFormat"]:
    """The generation request for a chat body, with its branch's history, and the format of its answer.

    Raises `NotFound`, `ReadOnly`, `InvalidRequest`, `OwnersPrompt`.
    """
    turn = await turn_of(caller, body)
    conversation = turn.conversation
    treatment = await experiments.treatment(caller, body.model, conversation.pk)
    system = experiments.system_prompt(treatment, conversation.system)
    generation_request = GenerationRequest(
        caller=caller,
        model=body.model,
        messages=[*([{"role": "system", "content": system}] if system else []), turn.asked],
        stream=body.stream,
        max_tokens=body.max_tokens,
        param_names={"messages": "message"},
        parameters={} if body.temperature is None else {"temperature": body.temperature},
        rows_to_save=services.turn_saver(turn, body.system),
        treatment=treatment,
        goes_on_as=turn.answer_id if body.finish else None,
        # The answer that is to be replaced may be the one in the cache.
        freshness=Freshness.NEW if turn.is_another_answer else Freshness.ANY,
    )
    if turn.history:
        model = experiments.route(await snapshot.ready(), caller, body.model, treatment)[0]
        most = min(generation_request.most_tokens, model.max_output_tokens)
        messages = services.with_history(generation_request.messages, turn.history, model, most)
        generation_request = replace(generation_request, messages=messages)
    return generation_request, ChatFormat(turn, treatment)


async def turn_of(caller: Caller, body: ChatBody) -> Turn:
    """The turn that the body asks for, in a new conversation or in one that goes on. Raises what `prepare` raises."""
    if body.parent_id and body.replaces:
        raise InvalidRequest("Write `parent_id` or `replaces`, not both.", param="replaces")
    if body.conversation_id is None:
        return await first_turn(caller, body)
    turn = await executor.run(
        turns.find,
        caller,
        body.conversation_id,
        question=body.message,
        parent_id=body.parent_id,
        replaces=body.replaces,
        files=body.attachments,
    )
    if body.system is not None:
        if turn.conversation.user_id != caller.user.pk:
            raise OwnersPrompt(param="system")
        turn.conversation.system = body.system
    return turn


async def first_turn(caller: Caller, body: ChatBody) -> Turn:
    """The turn that begins a new conversation. Raises `InvalidRequest`."""
    if body.parent_id or body.replaces:
        raise InvalidRequest("Name the conversation of this message.", param="conversation_id")
    if body.message is None:
        raise InvalidRequest("message: Field required.", param="message")
    begun = services.new_conversation(caller, body.message, body.system or "")
    if body.attachments:
        return await executor.run(turns.first, caller, begun, body.message, body.attachments)
    return turns.first(caller, begun, body.message)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """Encodes an answer as `/api/v1/chat` does, with the IDs of its conversation and message."""

    turn: Turn
    treatment: Treatment

    def answer(self, result: Result) -> dict[str, Any]:
        return {
            "id": str(result.id),
            "conversation_id": str(self.turn.conversation.pk),
            "message": {
                "id": str(self.turn.answer_id),
                "parent_id": str(self.turn.question_id),
                "role": "assistant",
                "content": result.text,
                **({"reasoning": result.reasoning} if result.reasoning else {}),
                **({"attachments": with_urls(self.turn.pictures)} if self.turn.pictures else {}),
            },
            "model": result.model,
            "provider": result.provider,
            "finish_reason": result.finish_reason,
            "usage": {"input_tokens": result.usage.input_tokens, "output_tokens": result.usage.output_tokens},
            "credits": {
                "charged": format_credits(result.charged),
                "available": format_credits(result.available),
                "low": result.credits_low,
            },
            "cached": result.cached,
            "fallback": result.fallback,
            "experiment": experiment(self.treatment),
            "request_id": result.request_id,
        }

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        return responses.json_bytes(self.answer(result)), {**answer_headers(result), **self.names()}

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        return {**stream_headers(event), **self.names()}

    def names(self) -> dict[str, str]:
        """The headers by which a client that lost a stream finds what was kept of it."""
        return {"X-Conversation-ID": str(self.turn.conversation.pk), "X-Message-ID": str(self.turn.answer_id)}

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Piece(text, reasoning=reasoning) if text or reasoning:
                return sse.server_sent_event(
                    {"content": text} | ({"reasoning": reasoning} if reasoning else {}), "delta"
                )
            case Completed(result):
                return sse.server_sent_event(self.answer(result), "completed")
            case Failed(error):
                return self.encode_error(error)
        return b""

    def encode_error(self, error: ApiError) -> bytes:
        return sse.server_sent_event(error.body(tracing.request_id()), "error")


def experiment(treatment: Treatment) -> dict[str, str] | None:
    if not treatment.experiment:
        return None
    return {"key": treatment.experiment, "variant": treatment.variant}


class ConversationPages(drf.CursorPages):
    ordering = "-updated_at"


class ConversationsFilter(StrictMembers, serializers.Serializer[Conversation]):
    """The query of a list of conversations."""

    search = serializers.CharField(
        required=False, max_length=100, help_text="A part of the title, or words that one of its messages has."
    )
    pinned = serializers.BooleanField(required=False, allow_null=True, default=None)


@extend_schema_view(
    get=extend_schema(
        summary="My conversations",
        responses=ConversationRowSerializer(many=True),
        parameters=[
            ConversationsFilter,
            OpenApiParameter("shared", bool, description="What others share with the caller instead."),
        ],
    )
)
class ConversationsView(ListAPIView[Conversation]):
    """The caller's conversations, the latest first: all, those pinned or not, or those in which some words are found."""

    permission_classes = [IsUser]
    serializer_class = ConversationRowSerializer
    pagination_class = ConversationPages
    found: search.Found = search.NOTHING

    def get_queryset(self) -> Any:
        caller, query = calling(self.request), self.request.query_params
        form = ConversationsFilter(data={name: query[name] for name in ("search", "pinned") if query.get(name)})
        form.is_valid(raise_exception=True)
        is_shared = query.get("shared") == "true"
        rows = sharing.shared_with(caller) if is_shared else sharing.conversations_of(caller)
        if text := form.validated_data.get("search"):
            self.found = search.among(rows, text) if is_shared else search.of(caller.user.pk, text)
            rows = rows.filter(Q(title__icontains=text) | Q(pk__in=list(self.found.hits)))
        if (pinned := form.validated_data["pinned"]) is not None:
            rows = rows.filter(pinned_at__isnull=not pinned)
        return rows.defer("system")

    def get_serializer(self, page: Any, **options: Any) -> Any:
        hits = self.found.shown([conversation.pk for conversation in page])
        return ConversationRowSerializer(page, context={**self.get_serializer_context(), "hits": hits}, **options)


@extend_schema_view(
    get=extend_schema(summary="One conversation"),
    patch=extend_schema(summary="Change a conversation"),
    delete=extend_schema(summary="Delete a conversation"),
)
class ConversationView(RetrieveUpdateDestroyAPIView[Conversation]):
    """One conversation: its title and system prompt can be changed, and it can be deleted with its messages."""

    permission_classes = [IsUser]
    serializer_class = ConversationSerializer
    http_method_names = ["get", "patch", "delete"]

    def get_object(self) -> Conversation:
        if self.request.method == "GET":
            return sharing.find(calling(self.request), self.kwargs["conversation_id"])
        return own_conversation(self.request, self.kwargs["conversation_id"])


def own_conversation(request: Request, conversation_id: UUID) -> Conversation:
    caller = calling(request)
    return owned(sharing.conversations_of(caller), caller.organization, conversation_id)


class MessagePages(drf.CursorPages):
    ordering = "id"


@extend_schema_view(get=extend_schema(summary="A conversation's messages", responses=MessageSerializer(many=True)))
class MessagesView(ListAPIView[Message]):
    """The messages of a conversation, the oldest first."""

    permission_classes = [IsUser]
    serializer_class = MessageSerializer
    pagination_class = MessagePages

    def get_queryset(self) -> Any:
        conversation = sharing.find(calling(self.request), self.kwargs["conversation_id"])
        return Message.objects.filter(conversation=conversation)

    def get_serializer(self, messages: Any, **options: Any) -> Any:
        caller = calling(self.request)
        own = {"charges": services.charges(caller, messages), "ratings": services.ratings(caller, messages)}
        return MessageSerializer(messages, context={**self.get_serializer_context(), **own}, **options)


class FeedbackView(GenericAPIView[Feedback]):
    permission_classes = [IsUser, ForLimitedKeys]
    scope = Scope.CHAT
    serializer_class = FeedbackSerializer

    @extend_schema(summary="Rate an answer", responses={201: FeedbackSerializer})
    def post(self, request: Request, message_id: UUID) -> Response:
        """Rate an answer in one's own conversation: 1 is good, -1 is bad. A second rating replaces the first."""
        form = FeedbackSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        comment = form.validated_data.get("comment", "")
        feedback = services.rate(calling(request), message_id, form.validated_data["rating"], comment)
        return Response(FeedbackSerializer(feedback).data, status=status.HTTP_201_CREATED)


class SharesView(APIView):
    """The people with whom the caller's conversation is shared."""

    permission_classes = [IsUser]

    @extend_schema(summary="A conversation's shares", responses=ShareSerializer(many=True))
    def get(self, request: Request, conversation_id: UUID) -> Response:
        """List everybody the conversation is shared with."""
        return Response(sharing.shares_of(own_conversation(request, conversation_id)))

    @extend_schema(summary="Share a conversation", request=NewShareSerializer, responses={201: ShareSerializer})
    def post(self, request: Request, conversation_id: UUID) -> Response:
        """Share with a person by e-mail: to `read`, or to `write` (continue it with their own credits).

        Sharing again with another access changes the share. A team's conversation is shared with its members only.
        """
        conversation = own_conversation(request, conversation_id)
        form = NewShareSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "share", str(calling(request).user.pk))
        made = sharing.share(
            conversation, email=form.validated_data["email"], access=sharing.Access(form.validated_data["access"])
        )
        return Response(made, status=status.HTTP_201_CREATED)


class ShareView(APIView):
    permission_classes = [IsUser]

    @extend_schema(summary="End a share, or leave one", responses={204: None})
    def delete(self, request: Request, conversation_id: UUID, user_id: UUID) -> Response:
        """End a share from that person's next request on: the conversation's owner does, or with one's own ID one leaves."""
        caller = calling(request)
        if user_id == caller.user.pk:
            conversation = sharing.find(caller, conversation_id)
        else:
            conversation = own_conversation(request, conversation_id)
        if not sharing.unshare(conversation, user_id):
            raise NotFound()
        return Response(status=status.HTTP_204_NO_CONTENT)
