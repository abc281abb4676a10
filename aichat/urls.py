from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.permissions import Public
from accounts.views import RegisterView
from aichat import health
from aichat.api.anthropic import messages
from aichat.api.openai import audio, chat_completions, completions, embeddings, image_edits, models, moderations
from aichat.api.openai.responses import views as responses
from aichat.flags.features import REGISTRATION
from aichat.flags.permissions import needs
from aichat.images.views import GenerationsView
from aichat.payments.stripe_views import StripeWebhookView
from aichat.payments.webhook_views import PaymentsWebhookView
from credits.views import MeView

urlpatterns = [
    *([] if settings.PORTAL else [path("", health.home)]),
    path("", include("aichat.portal.urls" if settings.PORTAL else "aichat.portal.account_urls")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("accounts/", include("accounts.browser_urls")),
    path("admin/", include("admin_dashboard.pages.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/me", MeView.as_view()),
    path("api/v1/auth/register", RegisterView.as_view(permission_classes=[Public, needs(REGISTRATION)])),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("credits.urls")),
    path("api/v1/", include("aichat.catalog.urls")),
    path("api/v1/", include("aichat.usage.urls")),
    path("api/v1/", include("aichat.payments.urls")),
    path("webhooks/payments", PaymentsWebhookView.as_view()),
    path("webhooks/stripe", StripeWebhookView.as_view()),
    path("api/v1/admin/", include("admin_dashboard.api.urls")),
    path("api/v1/admin/", include("aichat.analytics.urls")),
    path("api/v1/", include("aichat.flags.urls")),
    path("api/v1/admin/", include("admin_dashboard.experiments.urls")),
    path("api/v1/", include("aichat.chat.urls")),
    path("api/v1/", include("aichat.images.urls")),
    path("v1/images/generations", GenerationsView.as_view()),
    path("v1/chat/completions", chat_completions.CompletionsView.as_view()),
    path("v1/completions", completions.TextCompletionsView.as_view()),
    path("v1/responses", responses.ResponsesView.as_view()),
    path("v1/messages", messages.MessagesView.as_view()),
    path("v1/messages/count_tokens", messages.CountTokensView.as_view()),
    path("v1/embeddings", embeddings.EmbeddingsView.as_view()),
    path("v1/moderations", moderations.ModerationsView.as_view()),
    path("v1/audio/speech", audio.SpeechView.as_view()),
    path("v1/audio/transcriptions", audio.TranscriptionsView.as_view()),
    path("v1/images/edits", image_edits.ImageEditsView.as_view()),
    path("v1/models", models.ModelsView.as_view()),
    path("v1/models/<path:slug>", models.ModelView.as_view()),
    path(
        "api/schema/", SpectacularAPIView.as_view(permission_classes=[Public], authentication_classes=[]), name="schema"
    ),
    path(
        "api/docs/",
        SpectacularSwaggerSplitView.as_view(url_name="schema", permission_classes=[Public], authentication_classes=[]),
        name="docs",
    ),
]

handler400 = "aichat.core.web.responses.bad_request"
handler403 = "aichat.core.web.responses.permission_denied"
handler404 = "aichat.core.web.responses.page_not_found"
handler500 = "aichat.core.web.responses.server_error"
