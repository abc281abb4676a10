from django.apps import AppConfig


class AdminDashboardConfig(AppConfig):
    name = "admin_dashboard"

    def ready(self) -> None:
        from django.contrib import admin

        from admin_dashboard import watching
        from aichat.catalog import state
        from aichat.core.background.periodic.runner import register
        from aichat.generation import model_health

        admin.site.index_template = "admin_dashboard/index.html"
        state.use_health_of(model_health.read)
        register("watch_operation", watching.watch, every=lambda: 60)
