"""The admin's pages that belong to no table."""

from django.contrib import admin
from django.urls import path

from admin_dashboard import dashboard

urlpatterns = [
    path("requests/", admin.site.admin_view(dashboard.find_request), name="admin_find_request"),
    path("requests/<str:request_id>/", admin.site.admin_view(dashboard.request_page), name="admin_request"),
]
