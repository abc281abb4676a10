"""The URLs of the admin pages that belong to no table."""

from django.contrib import admin
from django.urls import path

from admin_dashboard.pages import reconciliation, request

urlpatterns = [
    path("requests/", admin.site.admin_view(request.find_request), name="admin_find_request"),
    path("requests/<str:request_id>/", admin.site.admin_view(request.request_page), name="admin_request"),
    path("reconciliation/", admin.site.admin_view(reconciliation.reconciliation_page), name="admin_reconciliation"),
]
