from django.apps import AppConfig


class ImagesConfig(AppConfig):
    name = "aichat.images"
    label = "images"

    def ready(self) -> None:
        from accounts import leaving
        from aichat.images import jobs, worker  # noqa: F401  (registers the worker of a serving process)

        leaving.erases(jobs.erase)
