from rest_framework import serializers

from aichat.chat.models import Conversation, Message
from aichat.money import CreditsField


class ConversationSerializer(serializers.ModelSerializer[Conversation]):
    class Meta:
        model = Conversation
        fields = ["id", "title", "system", "created_at", "updated_at"]


class MessageSerializer(serializers.ModelSerializer[Message]):
    class Meta:
        model = Message
        fields = ["id", "role", "content", "model", "provider", "finish_reason", "request_id", "created_at"]


# --- The answer of POST /api/v1/chat, for the OpenAPI document --------------------------------------------------------


class AnswerMessageSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    role = serializers.CharField()
    content = serializers.CharField()


class TokensSerializer(serializers.Serializer[Message]):
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class ChargeSerializer(serializers.Serializer[Message]):
    charged = CreditsField()
    available = CreditsField()


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
    experiment = serializers.CharField(allow_null=True)
    request_id = serializers.CharField()
