from django.apps import AppConfig


class PromptCacheConfig(AppConfig):
    name = "aichat.promptcache"
    label = "promptcache"
    verbose_name = "Prompt cache"
