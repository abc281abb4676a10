"""The settings of Django and the frameworks that no variable of the environment changes.

`aichat/settings.py` takes each value under the same name, beside the settings that an operator can change.
"""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse
from pythonjsonlogger.core import RESERVED_ATTRS

# --- Django -----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "aichat",  # the first: its migrate and runserver stand before those of others
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "guardian",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "credits",
    "aichat.catalog",
    "aichat.flags",
    "aichat.idempotency",
    "aichat.core.background.periodic",
    "aichat.core.outbound",
    "aichat.promptcache",
    "aichat.usage",
    "aichat.payments",
    "aichat.api",
    "aichat.chat",
    "aichat.images",
    "aichat.analytics",
    "aichat.portal",
    "admin_dashboard",
]

MIDDLEWARE = [
    "aichat.core.web.middleware.TraceMiddleware",
    "aichat.core.web.addresses.AddressMiddleware",
    "aichat.api.anthropic.errors.AnthropicErrorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "aichat.core.web.middleware.ContentPolicyMiddleware",
    "aichat.core.web.middleware.StaticFilesMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "aichat.core.web.middleware.NulMiddleware",
    "aichat.core.web.middleware.BodyLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "aichat.core.web.middleware.HostMiddleware",
    "accounts.languages.LanguageMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Calls from browsers of other origins -----------------------------------------------------------------------------
CORS_ALLOW_HEADERS = [
    "accept",
    "api-key",
    "authorization",
    "cache-control",
    "content-type",
    "idempotency-key",
    "traceparent",
    "x-api-key",
    "x-organization",
    "x-request-id",
    # Sent by the SDKs of Anthropic and OpenAI for browsers.
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
]
CORS_EXPOSE_HEADERS = [
    "age",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "idempotent-replayed",
    "retry-after",
    "x-cache",
    "x-credits-charged",
    "x-credits-low",
    "x-dropped-parameters",
    "x-max-tokens-capped",
    "x-model",
    "x-provider",
    "x-request-id",
]

# --- API --------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.IsUser"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.rate_limits.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["aichat.core.web.drf.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "aichat.core.web.drf.Negotiation",
    "DEFAULT_PAGINATION_CLASS": "aichat.core.web.drf.CursorPages",
    "DEFAULT_SCHEMA_CLASS": "aichat.core.web.openapi.Schema",
    "EXCEPTION_HANDLER": "aichat.core.web.responses.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "aichat",
    "VERSION": "1",
    "DESCRIPTION": "Multi-user AI chat and images with credits. Errors have one shape; see `docs/API.md`.",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/(api/)?v1",  # the part of a path before the operation's name
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["accounts.permissions.Public"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "GET_LIB_DOC_EXCLUDES": "aichat.core.web.openapi.classes_that_describe_nothing",
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "accounts.models.Role",
        "MembershipRoleEnum": "accounts.models.Membership.Role",
        "MessageRoleEnum": "aichat.chat.models.Message.Role",
        "SubscriptionStatusEnum": ["active", "past_due", "cancelled", "none"],
        "ResponseStatusEnum": ["in_progress", "completed", "incomplete", "failed"],
        "ToolTypeEnum": ["function", "custom"],
        "ResponseFormatTypeEnum": ["text", "json_object", "json_schema"],
    },
}

# --- Admin ------------------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "aichat",
    "SITE_HEADER": "aichat",
    "SITE_SYMBOL": "forum",
    "SITE_URL": lambda request: reverse("docs"),
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "admin_dashboard.pages.dashboard.context",
    "SIDEBAR": {"navigation": "admin_dashboard.pages.sidebar.navigation", "command_search": True},
    "COMMAND": {"search_callback": "admin_dashboard.pages.sidebar.find"},
    "LOGIN": {"form": "accounts.forms.LoginForm"},
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("aichat/favicon.svg")},
    ],
    "STYLES": [lambda request: static("aichat/charts.css")],
    "SCRIPTS": [lambda request: static("aichat/labels.js")],
}


# --- Logs -------------------------------------------------------------------------------------------------------------
def logging_settings(format: str, level: str) -> dict[str, Any]:
    """The value of `LOGGING`, for LOG_FORMAT `json` or `console` and LOG_LEVEL."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"trace": {"()": "aichat.core.telemetry.tracing.TraceFilter"}},
        "formatters": {
            "json": {
                "()": "aichat.core.telemetry.log_writer.JsonFormatter",
                "fmt": "{asctime}{levelname}{name}{message}{request_id}{traceparent}{user}{organization}",
                "style": "{",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                # Django attaches the request to some records, and with it the query string, which may hold a secret.
                "reserved_attrs": [*RESERVED_ATTRS, "request", "color_message"],
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            },
            "console": {
                "format": "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s",
                "datefmt": "%Y-%m-%d %H:%M:%S%z",
            },
        },
        "handlers": {
            "stderr": {
                "class": "aichat.core.telemetry.log_writer.LogWriter",
                "filters": ["trace"],
                "formatter": format,
            },
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Our access line has the same facts and more; tracebacks of unhandled errors are still logged.
            "django.request": {"level": "ERROR"},
            # Any client can cause this with an unknown Host; the access line has the 400, and the answer says the mend.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django.server": {"handlers": [], "propagate": False},
            "gunicorn.error": {"handlers": ["stderr"], "level": level, "propagate": False},
            "uvicorn.error": {"handlers": ["stderr"], "level": level, "propagate": False},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # Libraries that would log what nobody needs to know; the ORM would log statements with their values.
            "environ": {"level": "WARNING"},  # that there is no .env is nothing to report
            "watchfiles": {"level": "WARNING"},
            # It logs each refused connection, which the request that waits for it reports already.
            "psycopg.pool": {"level": "ERROR"},
            "opentelemetry": {"level": "ERROR"},  # it logs each retry of a batch
            "datadog.dogstatsd": {"level": "ERROR"},  # it logs a line for each packet to an agent that is gone
            "django.db.backends": {"level": "INFO"},
        },
    }
