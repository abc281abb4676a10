from django.apps import AppConfig


class AdminDashboardConfig(AppConfig):
    name = "admin_dashboard"

    def ready(self) -> None:
        from django.contrib import admin

        admin.site.index_template = "admin_dashboard/index.html"
