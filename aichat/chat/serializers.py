from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from aichat.chat import attachments, links
from aichat.chat.models import Attachment, Conversation, ConversationLink, Feedback, Message
from aichat.chat.schemas import LONGEST_SYSTEM_PROMPT
from aichat.chat.sharing import Access
from aichat.core.money import CreditsField, format_credits
from aichat.core.web.drf import StrictMembers


class ConversationSerializer(StrictMembers, serializers.ModelSerializer[Conversation]):
    system = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_SYSTEM_PROMPT, trim_whitespace=False
    )

    pinned = serializers.BooleanField(required=False, help_text="Kept on top of the portal's list.")

    class Meta:
        model = Conversation
        fields = ["id", "title", "system", "pinned", "created_at", "updated_at"]

    def update(self, instance: Conversation, validated_data: dict[str, Any]) -> Conversation:
        changes = dict(validated_data)
        if (pinned := changes.pop("pinned", None)) is not None and pinned != instance.pinned:
            changes["pinned_at"] = timezone.now() if pinned else None
        changed: Conversation = super().update(instance, changes)
        return changed


class SnippetPieceSerializer(serializers.Serializer[Message]):
    text = serializers.CharField(help_text="Plain text: escape it.")
    marked = serializers.BooleanField(help_text="Whether it is what was searched for.")


class HitSerializer(serializers.Serializer[Message]):
    """The newest message of a conversation in which the words were found, and the text around them."""

    message_id = serializers.UUIDField()
    snippet = SnippetPieceSerializer(many=True)


class ConversationRowSerializer(serializers.ModelSerializer[Conversation]):
    """A conversation in a list: without its system prompt, which may be long."""

    hit = serializers.SerializerMethodField(help_text="Null without `search`, or when only the title has its words.")

    class Meta:
        model = Conversation
        fields = ["id", "title", "pinned", "created_at", "updated_at", "hit"]

    @extend_schema_field(HitSerializer(allow_null=True))
    def get_hit(self, conversation: Conversation) -> dict[str, Any] | None:
        hit = self.context["hits"].get(conversation.pk)
        return None if hit is None else dict(HitSerializer(hit).data)


class LinkSerializer(serializers.ModelSerializer[ConversationLink]):
    token = serializers.SerializerMethodField(help_text="The end of the page's address, `/s/{token}`.")

    class Meta:
        model = ConversationLink
        fields = ["id", "token", "message_id", "created_at"]

    def get_token(self, link: ConversationLink) -> str:
        return links.token_of(link)


class NewLinkSerializer(StrictMembers, serializers.Serializer[ConversationLink]):
    message_id = serializers.UUIDField(required=False, help_text="The last message to show; without it the latest.")


class SharedMessageSerializer(serializers.Serializer[Message]):
    role = serializers.CharField()
    content = serializers.CharField()


class SharedPageSerializer(serializers.Serializer[Conversation]):
    """What a link shows: nothing of the person, of costs, models, thoughts or the system prompt."""

    title = serializers.CharField()
    created_at = serializers.DateTimeField(help_text="The link's.")
    messages = SharedMessageSerializer(many=True)


class ShareSerializer(serializers.Serializer[Conversation]):
    id = serializers.UUIDField(help_text="The person's.")
    email = serializers.EmailField()
    access = serializers.ChoiceField([access.value for access in Access])


class NewShareSerializer(StrictMembers, serializers.Serializer[Conversation]):
    email = serializers.EmailField(max_length=254)
    access = serializers.ChoiceField([access.value for access in Access], default=Access.READ.value)


class AttachmentSerializer(serializers.Serializer[Attachment]):
    """A picture or PDF of a message."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    media_type = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    url = serializers.CharField(help_text="A path that shows the file for an hour, to whoever has it.")


class MessageSerializer(serializers.ModelSerializer[Message]):
    credits = serializers.SerializerMethodField(
        help_text="What the answer cost the caller; null: others paid, or unknown."
    )
    rating = serializers.SerializerMethodField(help_text="The caller's own, 1 or -1; null: none.")
    attachments = serializers.SerializerMethodField()

    class Meta:
        model = Message
        fields = [
            "id", "parent_id", "role", "content", "reasoning", "attachments", "model", "provider", "finish_reason",
            "request_id", "credits", "rating", "created_at",
        ]  # fmt: skip

    @extend_schema_field(AttachmentSerializer(many=True))
    def get_attachments(self, message: Message) -> list[dict[str, Any]]:
        return attachments.with_urls(message.attachments)

    def get_credits(self, message: Message) -> str | None:
        charged = self.context["charges"].get(message.request_id) if message.role == Message.Role.ASSISTANT else None
        return None if charged is None else format_credits(charged)

    def get_rating(self, message: Message) -> int | None:
        rating: int | None = self.context["ratings"].get(message.pk)
        return rating


class FeedbackSerializer(StrictMembers, serializers.ModelSerializer[Feedback]):
    message_id = serializers.UUIDField(read_only=True)
    rating = serializers.ChoiceField(choices=Feedback.Rating.values)

    class Meta:
        model = Feedback
        fields = ["id", "message_id", "rating", "comment", "created_at"]


# --- The answer of POST /api/v1/chat, for the OpenAPI document --------------------------------------------------------


class AnswerMessageSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    parent_id = serializers.UUIDField(help_text="The question.")
    role = serializers.CharField()
    content = serializers.CharField()
    reasoning = serializers.CharField(required=False, help_text="The model's thoughts, if it showed any.")
    attachments = AttachmentSerializer(many=True, required=False, help_text="The pictures it drew, if any.")


class TokensSerializer(serializers.Serializer[Message]):
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class ChargeSerializer(serializers.Serializer[Message]):
    charged = CreditsField()
    available = CreditsField()
    low = serializers.BooleanField(help_text="Less than LOW_CREDITS are left.")


class ExposureSerializer(serializers.Serializer[Message]):
    """The experiment the answer was part of."""

    key = serializers.CharField()
    variant = serializers.CharField()


class ChatAnswerSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    message = AnswerMessageSerializer()
    model = serializers.CharField(help_text="The model that served.")
    provider = serializers.CharField()
    finish_reason = serializers.CharField()
    usage = TokensSerializer()
    credits = ChargeSerializer()
    cached = serializers.BooleanField()
    fallback = serializers.BooleanField(help_text="Another than the first candidate served.")
    experiment = ExposureSerializer(allow_null=True)
    request_id = serializers.CharField()
