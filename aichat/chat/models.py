"""Conversations and their messages."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from guardian.models import UserObjectPermission

from aichat.core.database.models import Row


class Conversation(Row):
    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="conversations")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="conversations")
    title = models.CharField(max_length=200)
    system = models.TextField(blank=True, help_text="The system prompt, sent first with every turn.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    pinned_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Since when it is kept on top.")

    class Meta:
        indexes = [
            models.Index(fields=["organization", "user", "-pinned_at"], name="conversations_pinned"),
            models.Index(fields=["organization", "user", "-updated_at"], name="conversations_of_user"),
            models.Index(fields=["-updated_at"], name="conversations_by_time"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def pinned(self) -> bool:
        return self.pinned_at is not None


class Message(Row):
    """A question or an answer. IDs are ordered by time; `parent_id` says which message it follows: there can be branches."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages", db_index=False)
    parent_id = models.UUIDField(
        null=True,
        blank=True,
        help_text="The message that it follows; the conversation's own ID: none. Empty: the message before it.",
    )
    role = models.CharField(max_length=16, choices=Role.choices)
    content = models.TextField()
    reasoning = models.TextField(
        blank=True, default="", db_default="", help_text="The model's thoughts before the answer."
    )
    attachments = models.JSONField(null=True, blank=True, help_text="Its files: ID, name, media type and size of each.")
    model = models.CharField(max_length=100, blank=True)
    provider = models.CharField(max_length=50, blank=True)
    finish_reason = models.CharField(max_length=30, blank=True, help_text="Empty: the answer broke off.")
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    owner_id = models.UUIDField(
        null=True, editable=False, help_text="The person whose conversation it is: search finds no message without."
    )

    class Meta:
        # And the index of the words, which each engine has in its own way: migration 0010, `search.py`.
        indexes = [
            models.Index(fields=["conversation", "id"], name="messages_of_conversation"),
            models.Index(fields=["request_id"], name="messages_of_request"),
            models.Index(fields=["owner_id"], condition=models.Q(owner_id=None), name="messages_without_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:60]}"


class Feedback(Row):
    """A user's rating of an answer. Rating the same answer again replaces the rating."""

    class Rating(models.IntegerChoices):
        UP = 1, "liked"
        DOWN = -1, "disliked"

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="feedback")
    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    rating = models.SmallIntegerField(choices=Rating.choices, db_index=True)
    comment = models.TextField(blank=True, max_length=4000)
    model = models.CharField(max_length=100, blank=True, help_text="That wrote the answer.")
    experiment = models.CharField(max_length=100, blank=True, help_text="The experiment the answer was part of.")
    variant = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        verbose_name_plural = "feedback"
        indexes = [models.Index(fields=["experiment", "created_at"], name="feedback_of_experiment")]

    def __str__(self) -> str:
        return f"{self.get_rating_display()} on {self.created_at:%Y-%m-%d}"  # the comment is not for everybody


class ConversationShare(UserObjectPermission):
    """A conversation shared with a person, to read or to continue. The row is django-guardian's; see `sharing.py`."""

    class Meta:
        proxy = True
        verbose_name = "shared conversation"

    def __str__(self) -> str:
        return f"with {self.user}"


class ConversationLink(Row):
    """A page for everybody who has its address: a conversation up to one of its messages. Deleted, it ends at once."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="links")
    message_id = models.UUIDField(help_text="The last message that is shown, with those that lead to it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"since {self.created_at:%Y-%m-%d}"


class Attachment(Row):
    """A picture or PDF of a message. Until a message has it, it has no conversation."""

    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, null=True, related_name="attachments", db_index=False
    )
    name = models.CharField(max_length=200)
    media_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField(help_text="Bytes.")
    data = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["conversation", "created_at"], name="attachments_of_conversation"),
            models.Index(fields=["user", "conversation"], name="attachments_of_user"),
        ]

    def __str__(self) -> str:
        return self.name
