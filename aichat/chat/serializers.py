from rest_framework import serializers

from aichat.chat.models import Conversation, Feedback, Message
from aichat.chat.schemas import LONGEST_SYSTEM_PROMPT
from aichat.chat.sharing import Access
from aichat.core.money import CreditsField
from aichat.core.web.drf import StrictMembers


class ConversationSerializer(StrictMembers, serializers.ModelSerializer[Conversation]):
    system = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_SYSTEM_PROMPT, trim_whitespace=False
    )

    class Meta:
        model = Conversation
        fields = ["id", "title", "system", "created_at", "updated_at"]


class ConversationRowSerializer(serializers.ModelSerializer[Conversation]):
    """A conversation in a list: without its system prompt, which may be long."""

    class Meta:
        model = Conversation
        fields = ["id", "title", "created_at", "updated_at"]


class ShareSerializer(serializers.Serializer[Conversation]):
    id = serializers.UUIDField(help_text="The person's.")
    email = serializers.EmailField()
    access = serializers.ChoiceField([access.value for access in Access])


class NewShareSerializer(StrictMembers, serializers.Serializer[Conversation]):
    email = serializers.EmailField(max_length=254)
    access = serializers.ChoiceField([access.value for access in Access], default=Access.READ.value)


class MessageSerializer(serializers.ModelSerializer[Message]):
    class Meta:
        model = Message
        fields = [
            "id", "role", "content", "reasoning", "model", "provider", "finish_reason", "request_id", "created_at",
        ]  # fmt: skip


class FeedbackSerializer(StrictMembers, serializers.ModelSerializer[Feedback]):
    message_id = serializers.UUIDField(read_only=True)
    rating = serializers.ChoiceField(choices=Feedback.Rating.values)

    class Meta:
        model = Feedback
        fields = ["id", "message_id", "rating", "comment", "created_at"]


# --- The answer of POST /api/v1/chat, for the OpenAPI document --------------------------------------------------------


class AnswerMessageSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    role = serializers.CharField()
    content = serializers.CharField()
    reasoning = serializers.CharField(required=False, help_text="The model's thoughts, if it showed any.")


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
