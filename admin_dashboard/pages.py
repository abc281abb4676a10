"""The admin's pages that belong to no table."""

from django.contrib import admin
from django.urls import path

from admin_dashboard import reconciliation_page, request_page

urlpatterns = [
    path("requests/", admin.site.admin_view(request_page.find_request), name="admin_find_request"),
    path("requests/<str:request_id>/", admin.site.admin_view(request_page.request_page), name="admin_request"),
    path(
        "reconciliation/", admin.site.admin_view(reconciliation_page.reconciliation_page), name="admin_reconciliation"
    ),
]
