from django.apps import AppConfig


class ImagesConfig(AppConfig):
    name = "aichat.images"
    label = "images"

    def ready(self) -> None:
        from accounts import file_limits, leaving, personal_data
        from aichat.images import export, jobs, worker  # noqa: F401  (registers the worker of a serving process)

        file_limits.counts(jobs.room_of)
        leaving.erases(jobs.erase)
        personal_data.adds(export.files)
