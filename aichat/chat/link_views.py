"""Links to conversations: their owner makes and ends them, everybody who has one reads its page."""

from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import calling
from accounts.permissions import IsUser, Public
from aichat.chat import links
from aichat.chat.models import ConversationLink
from aichat.chat.serializers import LinkSerializer, NewLinkSerializer, SharedPageSerializer
from aichat.chat.views import own_conversation
from aichat.core.errors import NotFound
from aichat.flags import evaluation
from aichat.flags.features import SHARED_LINKS


class LinksView(APIView):
    """The links to the caller's conversation."""

    permission_classes = [IsUser]

    @extend_schema(summary="A conversation's links", responses=LinkSerializer(many=True))
    def get(self, request: Request, conversation_id: UUID) -> Response:
        """List the links through which everybody can read the conversation, the oldest first."""
        rows = ConversationLink.objects.filter(conversation=own_conversation(request, conversation_id)).order_by("id")
        return Response(LinkSerializer(rows[: links.MOST_LINKS], many=True).data)

    @extend_schema(summary="Make a link", request=NewLinkSerializer, responses={201: LinkSerializer})
    def post(self, request: Request, conversation_id: UUID) -> Response:
        """Make a link that shows the conversation up to a message, without system prompt, thoughts, costs or names.

        A second request for the same message answers the same link, with status 200.
        """
        conversation = own_conversation(request, conversation_id)
        evaluation.require(SHARED_LINKS, calling(request))
        form = NewLinkSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "link", str(calling(request).user.pk))
        link, is_new = links.make(conversation, form.validated_data.get("message_id"))
        return Response(LinkSerializer(link).data, status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


class LinkView(APIView):
    permission_classes = [IsUser]

    @extend_schema(summary="End a link", responses={204: None})
    def delete(self, request: Request, conversation_id: UUID, link_id: UUID) -> Response:
        """End a link: from now on its address shows nothing to anybody."""
        conversation = own_conversation(request, conversation_id)
        if not ConversationLink.objects.filter(conversation=conversation, pk=link_id).delete()[0]:
            raise NotFound()
        return Response(status=status.HTTP_204_NO_CONTENT)


class SharedPageView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(summary="What a link shows", auth=[], responses=SharedPageSerializer)
    def get(self, request: Request, token: str) -> Response:
        """Answer the title and messages of a shared conversation to everybody who has its link; search engines keep none."""
        headers = {"X-Robots-Tag": "noindex", "Cache-Control": "no-store"}
        return Response(links.page(token), headers=headers)
