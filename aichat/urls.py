from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.permissions import Public
from accounts.views import RegisterView
from aichat import views
from aichat.chat import completions
from aichat.flags.permissions import needs
from aichat.flags.switches import REGISTRATION
from aichat.images.views import GenerationsView

urlpatterns = [
    path("", views.home),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
    path("admin/", include("admin_dashboard.pages")),
    path("admin/", admin.site.urls),
    path("api/v1/me", views.MeView.as_view()),
    path("api/v1/auth/register", RegisterView.as_view(permission_classes=[Public, needs(REGISTRATION)])),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("credits.urls")),
    path("api/v1/", include("aichat.catalog.urls")),
    path("api/v1/", include("aichat.usage.urls")),
    path("api/v1/admin/", include("admin_dashboard.urls")),
    path("api/v1/admin/", include("aichat.analytics.urls")),
    path("api/v1/", include("aichat.flags.urls")),
    path("api/v1/admin/", include("admin_dashboard.experiments.urls")),
    path("api/v1/", include("aichat.chat.urls")),
    path("api/v1/", include("aichat.images.urls")),
    path("v1/images/generations", GenerationsView.as_view()),
    path("v1/chat/completions", completions.CompletionsView.as_view()),
    path("v1/models", completions.ModelsView.as_view()),
    path("v1/models/<path:slug>", completions.ModelView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[Public]), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema", permission_classes=[Public])),
]

handler400 = "aichat.rest.bad_request"
handler403 = "aichat.rest.permission_denied"
handler404 = "aichat.rest.page_not_found"
handler500 = "aichat.rest.server_error"
