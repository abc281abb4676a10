"""The URLs of the admin pages that belong to no table."""

from django.contrib import admin
from django.urls import path

from admin_dashboard.pages import models, new_provider, playground, reconciliation, request, spending

urlpatterns = [
    path("requests/", admin.site.admin_view(request.find_request), name="admin_find_request"),
    path("requests/<str:request_id>/", admin.site.admin_view(request.request_page), name="admin_request"),
    path("models/<uuid:model_id>/test/", admin.site.admin_view(models.test_model), name="admin_test_model"),
    path("providers/<uuid:provider_id>/models/", admin.site.admin_view(models.fetch_models), name="admin_fetch_models"),
    path("providers/new/<slug:slug>/", admin.site.admin_view(new_provider.new_provider), name="admin_new_provider"),
    path("playground/", admin.site.admin_view(playground.playground), name="admin_playground"),
    path("playground/key/", admin.site.admin_view(playground.playground_key), name="admin_playground_key"),
    path("spending/", admin.site.admin_view(spending.spending_page), name="admin_spending"),
    path("reconciliation/", admin.site.admin_view(reconciliation.reconciliation_page), name="admin_reconciliation"),
]
