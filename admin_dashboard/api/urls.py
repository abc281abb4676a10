from django.urls import path

from admin_dashboard.api import audit_views, cache_views, views

urlpatterns = [
    path("stats", views.StatsView.as_view()),
    path("users", views.UsersView.as_view()),
    path("users/<uuid:user_id>", views.UserView.as_view()),
    path("users/<uuid:user_id>/credits", views.UserCreditsView.as_view()),
    path("usage", views.UsageView.as_view()),
    path("reconciliation", views.ReconciliationView.as_view()),
    path("requests/<str:request_id>", views.RequestView.as_view()),
    path("audit", audit_views.AuditView.as_view()),
    path("cache/invalidate", cache_views.InvalidateView.as_view()),
    path("models", views.ModelsView.as_view()),
    path("models/<path:slug>", views.ModelView.as_view()),
]
