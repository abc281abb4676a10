from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "aichat.chat"
    label = "chat"

    def ready(self) -> None:
        from accounts import file_limits, leaving, personal_data
        from aichat.chat import attachments, retention, search
        from aichat.core.background.periodic.runner import register

        file_limits.counts(attachments.room_of)
        leaving.erases(retention.erase)
        personal_data.adds(attachments.files)
        register("purge_attachments", attachments.purge, every=lambda: 3600)
        register("index_messages", search.index_waiting, every=lambda: 60)
        register("purge_conversations", retention.purge, every=lambda: 3600)
