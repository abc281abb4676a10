from django.apps import AppConfig


class ImagesConfig(AppConfig):
    name = "aichat.images"
    label = "images"

    def ready(self) -> None:
        from aichat.images import worker  # noqa: F401  (registers the worker of a serving process)
