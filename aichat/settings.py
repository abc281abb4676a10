"""The settings, most of them read from environment variables, which `docs/deployment/settings.md` describes.

Lists and tables that no variable changes stand in `framework_settings.py`. A wrong value raises at import and stops the
start; `aichat/core/config/checks.py` checks combinations of settings.
"""

import sys
from datetime import timedelta
from pathlib import Path

import environ

from aichat import __version__, framework_settings
from aichat.catalog import fallback_reasons
from aichat.core.config import env, prefix, stores
from aichat.core.database import mongodb

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / "var"
environ.Env.read_env(BASE_DIR / ".env")  # variables of the environment take precedence over the file

# --- Django -----------------------------------------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", False)
SECRET_KEY = stores.secret_key(keep_in=DATA_DIR / "secret_key")
FIELD_ENCRYPTION_KEY = env.text("FIELD_ENCRYPTION_KEY")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
# The path below which a proxy shows this server: FORCE_SCRIPT_NAME, STATIC_URL and the cookies' names and paths follow.
URL_PREFIX = env.path_prefix("URL_PREFIX")
BELOW_PREFIX = prefix.settings_of(URL_PREFIX)
globals().update(BELOW_PREFIX)
LOGIN_COOKIE_NAME: str = BELOW_PREFIX["LOGIN_COOKIE_NAME"]
ROOT_URLCONF = "aichat.urls"
ASGI_APPLICATION = "aichat.asgi.application"
AUTH_USER_MODEL = "accounts.User"
LOGIN_REDIRECT_URL = "admin:index"

INSTALLED_APPS = framework_settings.INSTALLED_APPS

MIDDLEWARE = framework_settings.MIDDLEWARE

TEMPLATES = framework_settings.TEMPLATES

# The languages of the portal and of mails; programs, logs and the admin are in English.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "aichat" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = "aichat.core.admin.formats"

# --- Server -----------------------------------------------------------------------------------------------------------
# Read by `gunicorn.conf.py`.
HOST = env.text("HOST", "127.0.0.1")
PORT = env.whole("PORT", 8000, minimum=1, maximum=65_535)
WEB_CONCURRENCY = env.whole("WEB_CONCURRENCY", 0)  # 0: not set; gunicorn then starts two

# --- Stores -----------------------------------------------------------------------------------------------------------
DATABASE_TIMEOUT = env.seconds("DATABASE_TIMEOUT", 20)
# Threads of a process for the database work of async views; each has its own connection.
DATABASE_THREADS = env.whole("DATABASE_THREADS", 8, minimum=1)
# Reservations of a process that may wait for their commit; further requests are refused (503 overloaded).
COMMIT_QUEUE = env.whole("COMMIT_QUEUE", 5000, minimum=1)
DATABASES = {
    "default": stores.database(
        "DATABASE_URL",
        "sqlite:///var/db.sqlite3",
        base_dir=BASE_DIR,
        timeout=DATABASE_TIMEOUT,
        threads=DATABASE_THREADS,
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Whether `migrate` and a starting server add the current models of the providers that have a key. Tests have their own.
FILL_CATALOG = True
# Tokens are `accounts.AccessToken`: knox's own table would stay empty for ever.
MIGRATION_MODULES: dict[str, str | None] = {"knox": None}
if DATABASES["default"]["ENGINE"] == "aichat.core.database.mongodb":
    INSTALLED_APPS = [mongodb.APP_CONFIGS.get(app, app) for app in INSTALLED_APPS]
    MIGRATION_MODULES |= mongodb.MIGRATION_MODULES
    DEFAULT_AUTO_FIELD = mongodb.OBJECT_ID

REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss"))
CACHE_TIMEOUT = env.seconds("CACHE_TIMEOUT", 0.25)  # for connecting and each command; then Redis is done without
CACHES = stores.caches(REDIS_URL, timeout=CACHE_TIMEOUT)

# WhiteNoise serves static files from the packages' own folders, so `collectstatic` is not needed.
WHITENOISE_USE_FINDERS = True

# --- Security ---------------------------------------------------------------------------------------------------------
HTTPS = env.boolean("HTTPS", False)
SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "aichat.core.web.responses.csrf_failure"

CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_HEADERS = framework_settings.CORS_ALLOW_HEADERS
CORS_EXPOSE_HEADERS = framework_settings.CORS_EXPOSE_HEADERS

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
# django-guardian: no anonymous user with permissions, and no methods added to our model classes.
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = GUARDIAN_MONKEY_PATCH_GROUP = False

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

MAX_REQUEST_BYTES = env.whole("MAX_REQUEST_BYTES", 10 * 2**20, minimum=1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_BYTES
# Of one connection: bytes of a request's head, seconds until it is there, and seconds of grace for a body (more for
# a body that keeps coming at 4 KiB a second).
MAX_HEADER_BYTES = env.whole("MAX_HEADER_BYTES", 32 * 1024, minimum=8192)
HEADER_TIMEOUT = env.seconds("HEADER_TIMEOUT", 20)
BODY_TIMEOUT = env.seconds("BODY_TIMEOUT", 30)

# Whether people find pages of their own at `/`; else `/` leads to the admin.
PORTAL = env.boolean("PORTAL", True)

# --- API --------------------------------------------------------------------------------------------------------------
KNOX_TOKEN_MODEL = "accounts.AccessToken"  # noqa: S105
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": timedelta(days=14)}
REST_FRAMEWORK = framework_settings.REST_FRAMEWORK
SPECTACULAR_SETTINGS = framework_settings.SPECTACULAR_SETTINGS | {
    "SERVERS": [{"url": URL_PREFIX}] if URL_PREFIX else []
}

# --- Rate limits ------------------------------------------------------------------------------------------------------
# Login and registration, by address and by e-mail.
RATE_LIMIT_AUTH = env.rate("RATE_LIMIT_AUTH", "10/min")
# A user's requests over all their tokens, by role. The limit stops runaway loops; credits bound their cost anyway.
RATE_LIMIT_USER = env.rate("RATE_LIMIT_USER", "3000/min")
RATE_LIMIT_SUBSCRIBER = env.rate("RATE_LIMIT_SUBSCRIBER", "6000/min")
RATE_LIMIT_ADMIN = env.rate("RATE_LIMIT_ADMIN", "12000/min")
# Event streams that a user may have open at once; 0: no limit.
STREAMS_PER_USER = env.whole("STREAMS_PER_USER", 1000)
# Megabytes (2^20 bytes) that a person's files in chats and pictures may take; 0: no limit.
FILES_PER_USER_MB = env.whole("FILES_PER_USER_MB", 0)
# Seconds after which a client that reads nothing of its stream is disconnected; what was delivered is charged.
STALLED_READER_TIMEOUT = env.seconds("STALLED_READER_TIMEOUT", 30)

# --- Single sign-on ---------------------------------------------------------------------------------------------------
# Bearer JWTs of this OpenID Connect issuer and audience are accepted; an unknown user is created.
OIDC_ISSUER = env.url("OIDC_ISSUER")
OIDC_AUDIENCE = env.text("OIDC_AUDIENCE")
# This server as a client of the issuer: then people log in there with a browser, for the portal and the admin site.
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
# Whether the issuer and its keys may have private addresses; those of an http:// issuer always may.
ALLOW_PRIVATE_OIDC = env.boolean("ALLOW_PRIVATE_OIDC", False)
# The claim that names the role, and the role of each of its values: OIDC_ROLE_MAP=staff=ADMIN,paying=SUBSCRIBER
OIDC_ROLE_CLAIM = env.text("OIDC_ROLE_CLAIM")
OIDC_ROLE_MAP = env.mapping("OIDC_ROLE_MAP", ("USER", "SUBSCRIBER", "ADMIN"))
# The claim that names groups, and the team of each, with the role: OIDC_GROUPS_MAP=dev=Engineering,leads=Engineering:ADMIN
OIDC_GROUPS_CLAIM = env.text("OIDC_GROUPS_CLAIM")
OIDC_GROUPS_MAP = env.places("OIDC_GROUPS_MAP", ("MEMBER", "ADMIN", "OWNER"))
# Whether people log in and sign up with passwords; else only by single sign-on and API keys.
PASSWORD_LOGIN = env.boolean("PASSWORD_LOGIN", True)
# Whether people who administer need a second factor.
ADMIN_MFA = env.choice("ADMIN_MFA", "optional", ("optional", "required"))

# --- Mail -------------------------------------------------------------------------------------------------------------
# The server that mails are given to; empty: requests that need a mail are answered with 503. It sets Django's EMAIL_….
MAIL = stores.mail("EMAIL_URL", "console:" if DEBUG else "", timeout=10.0)
EMAIL_URL: str = MAIL["EMAIL_URL"]
globals().update(MAIL)
EMAIL_FROM = env.email("EMAIL_FROM", "aichat@localhost")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = EMAIL_FROM
# The address of the pages that mails link to; empty: mails hold the code alone, and the call that takes it.
APP_URL = env.url("APP_URL")
# Whether people confirm their address by mail: not at all; asked to; asked to, and starter credits come after it.
EMAIL_VERIFICATION = env.choice("EMAIL_VERIFICATION", "none", ("none", "optional", "required"))

# --- Leaving ----------------------------------------------------------------------------------------------------------
# Days after its last message when a conversation is deleted; 0: kept. An organization may have its own number.
RETENTION_DAYS = env.whole("RETENTION_DAYS", 0, maximum=36_500)
# Days after which entries of the audit log are deleted; 0: kept.
AUDIT_RETENTION_DAYS = env.whole("AUDIT_RETENTION_DAYS", 0, maximum=36_500)
# Days between the wish to delete an account and its erasure; a login takes the wish back.
ACCOUNT_DELETION_GRACE_DAYS = env.whole("ACCOUNT_DELETION_GRACE_DAYS", 7, maximum=3650)

# --- Providers --------------------------------------------------------------------------------------------------------
OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL", "https://api.openai.com/v1")
GEMINI_API_KEY = env.text("GEMINI_API_KEY")
GEMINI_BASE_URL = env.url("GEMINI_BASE_URL", "https://generativelanguage.googleapis.com")
ANTHROPIC_API_KEY = env.text("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = env.url("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
# Whether providers that are rows of the catalog (Ollama, vLLM …) may have private addresses.
ALLOW_PRIVATE_UPSTREAMS = env.boolean("ALLOW_PRIVATE_UPSTREAMS", False)
# None: open only while no provider has a key, here or in the admin, so that strangers can't spend an operator's money.
REGISTRATION_OPEN = env.boolean_or_unset("REGISTRATION_OPEN")

# In seconds; `aichat/generation/deadlines.py` says which wait each of them bounds.
CHAT_CONNECT_TIMEOUT = env.seconds("CHAT_CONNECT_TIMEOUT", 5)
CHAT_ATTEMPT_TIMEOUT = env.seconds("CHAT_ATTEMPT_TIMEOUT", 300)
CHAT_FIRST_TOKEN_TIMEOUT = env.seconds("CHAT_FIRST_TOKEN_TIMEOUT", 60)
CHAT_IDLE_TIMEOUT = env.seconds("CHAT_IDLE_TIMEOUT", 60)
CHAT_TOTAL_TIMEOUT = env.seconds("CHAT_TOTAL_TIMEOUT", 600)
IMAGE_ATTEMPT_TIMEOUT = env.seconds("IMAGE_ATTEMPT_TIMEOUT", 120)
IMAGE_TOTAL_TIMEOUT = env.seconds("IMAGE_TOTAL_TIMEOUT", 240)
# The failures of a candidate after which the next one of the route is asked: `aichat/catalog/fallback_reasons.py`.
FALLBACK_ON = env.choices("FALLBACK_ON", fallback_reasons.ALL)
# After BREAKER_FAILURES failures in a row a model is skipped for BREAKER_COOLDOWN seconds.
BREAKER_FAILURES = env.whole("BREAKER_FAILURES", 5, minimum=1)
BREAKER_COOLDOWN = env.seconds("BREAKER_COOLDOWN", 30)

# --- Prompt cache -----------------------------------------------------------------------------------------------------
# Seconds an answer is kept for an identical request; 0 turns the cache off.
PROMPT_CACHE_TTL = env.whole("PROMPT_CACHE_TTL", 86_400, maximum=366 * 86_400)
# Who may receive a cached answer: the organization it was made for, the one user, or everybody.
PROMPT_CACHE_SCOPE = env.choice("PROMPT_CACHE_SCOPE", "organization", ("organization", "user", "global"))
# Whether requests with tools, or with images, use the cache.
PROMPT_CACHE_TOOLS = env.boolean("PROMPT_CACHE_TOOLS", False)
PROMPT_CACHE_IMAGES = env.boolean("PROMPT_CACHE_IMAGES", False)
PROMPT_CACHE_LARGEST_ANSWER = env.whole("PROMPT_CACHE_LARGEST_ANSWER", 256 * 1024)  # bytes
PROMPT_CACHE_MEMORY = env.whole("PROMPT_CACHE_MEMORY", 32 * 2**20)  # bytes in each process; used without Redis
# The share of the answer's original price that a cache hit costs.
CACHE_HIT_PRICE = env.decimal("CACHE_HIT_PRICE", "0", places=6)

# --- Images -----------------------------------------------------------------------------------------------------------
# Seconds after which another worker takes over a dead worker's job.
IMAGE_LEASE_SECONDS = env.seconds("IMAGE_LEASE_SECONDS", 30)
IMAGE_ATTEMPTS = env.whole("IMAGE_ATTEMPTS", 3, minimum=1)
IMAGE_BACKOFF_SECONDS = env.seconds("IMAGE_BACKOFF_SECONDS", 2)  # the first wait; it doubles with each attempt
IMAGE_POLL_SECONDS = env.seconds("IMAGE_POLL_SECONDS", 1)
IMAGE_DISPATCHER = env.choice("IMAGE_DISPATCHER", "database", ("database", "celery"))
IMAGE_SWEEP_SECONDS = env.seconds("IMAGE_SWEEP_SECONDS", 10)  # with Celery: waiting jobs of this age are sent again
IMAGE_WORKER_CONCURRENCY = env.whole("IMAGE_WORKER_CONCURRENCY", 2)  # jobs at once in each serving process; 0: none
ALLOW_PRIVATE_WEBHOOKS = env.boolean("ALLOW_PRIVATE_WEBHOOKS", False)  # true: webhooks may go to private addresses
IMAGE_RETENTION_DAYS = env.whole("IMAGE_RETENTION_DAYS", 0)  # 0: kept until deleted
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(DATA_DIR / "media")))
MEDIA_STORAGE = env.url("MEDIA_STORAGE", "", schemes=("s3",))  # s3://bucket/folder?endpoint_url=…; empty: MEDIA_ROOT
STORAGES = {
    "default": stores.storage(MEDIA_STORAGE),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# --- Credits ----------------------------------------------------------------------------------------------------------
STARTER_CREDITS = env.decimal("STARTER_CREDITS", "100", places=6)
CREDITS_PER_USD = env.decimal("CREDITS_PER_USD", "1000")
MARKUP = env.decimal("MARKUP", "1")
# How much more than was allowed a provider may report and be believed: this share of it, and 256 tokens.
USAGE_TOLERANCE = env.decimal("USAGE_TOLERANCE", "0.1", places=4)
MAX_AUDIO_MINUTES = env.whole("MAX_AUDIO_MINUTES", 240, minimum=1)  # of a file to transcribe
DEFAULT_MAX_TOKENS = env.whole("DEFAULT_MAX_TOKENS", 4096, minimum=1)
# Below this many credits answers carry the header X-Credits-Low.
LOW_CREDITS = env.decimal("LOW_CREDITS", "10")
# In tokens: when credits don't cover the requested length, an answer of at least this length is made instead of a refusal.
SHORTEST_CAPPED_ANSWER = env.whole("SHORTEST_CAPPED_ANSWER", 64, minimum=1)
HOLD_TTL = env.seconds("HOLD_TTL", 900)
# The folder where streams are written down until they are settled, so that a process may die meanwhile; `off`: nowhere.
SETTLEMENT_JOURNAL = env.folder("SETTLEMENT_JOURNAL", DATA_DIR / "journal")
# Days after the end of a paid period in which a subscription still counts, so that a late renewal interrupts nobody.
SUBSCRIPTION_GRACE_DAYS = env.whole("SUBSCRIPTION_GRACE_DAYS", 3, maximum=366)
# The secret that signs `POST /webhooks/payments` (Standard Webhooks); empty: all such messages are refused.
PAYMENTS_WEBHOOK_SECRET = env.text("PAYMENTS_WEBHOOK_SECRET")
# Stripe: the secret key of its API, and the secret that signs its webhooks; empty: nothing is sold by Stripe.
STRIPE_SECRET_KEY = env.text("STRIPE_SECRET_KEY")
STRIPE_WEBHOOK_SECRET = env.text("STRIPE_WEBHOOK_SECRET")
# The receivers of the operator's alerts, and how many times the usual an hour's spending must be for one; 0: never.
ALERT_EMAIL = env.emails("ALERT_EMAIL")
ALERT_WEBHOOK_URL = env.url("ALERT_WEBHOOK_URL")
ALERT_SLACK_URL = env.url("ALERT_SLACK_URL")
ALERT_SPENDING_FACTOR = env.whole("ALERT_SPENDING_FACTOR", 5, maximum=10_000)
# Whether servers also do the periodic work, one server at a time: expired holds, monthly allowances and the like. When
# it is off, run the management commands of the same names by cron or another scheduler.
PERIODIC_TASKS = env.boolean("PERIODIC_TASKS", True)
EXPIRE_HOLDS_INTERVAL = env.seconds("EXPIRE_HOLDS_INTERVAL", 60)
# Seconds for which a later request of `/v1/responses` may refer to items of an answer; 0: none are kept.
RESPONSE_ITEMS_TTL = env.whole("RESPONSE_ITEMS_TTL", 3_600, maximum=366 * 86_400)
# Seconds after which an Idempotency-Key is free again when the process that served its request has died.
IDEMPOTENCY_LEASE = env.seconds("IDEMPOTENCY_LEASE", 30)

# --- Analytics and monitoring -----------------------------------------------------------------------------------------
# Whether product events (`aichat/core/telemetry/product_events.py`) are stored in the database.
ANALYTICS_STORED = env.boolean("ANALYTICS_STORED", True)
ANALYTICS_RETENTION_DAYS = env.whole("ANALYTICS_RETENTION_DAYS", 365)  # 0: kept for ever
ANALYTICS_PRUNE_INTERVAL = 86_400.0
# Whether events of users who have not decided are forwarded: opt-in: no; opt-out: yes.
ANALYTICS_CONSENT = env.choice("ANALYTICS_CONSENT", "opt-in", ("opt-in", "opt-out"))
ANALYTICS_WEBHOOK_URL = env.url("ANALYTICS_WEBHOOK_URL")
ANALYTICS_WEBHOOK_SECRET = env.text("ANALYTICS_WEBHOOK_SECRET")
POSTHOG_API_KEY = env.text("POSTHOG_API_KEY")
POSTHOG_HOST = env.url("POSTHOG_HOST", "https://us.i.posthog.com")
METRICS_TOKEN = env.text("METRICS_TOKEN")  # the bearer token of `GET /metrics`; requests from this machine need none
STATSD_HOST = env.endpoint("STATSD_HOST", port=8125)
SENTRY_DSN = env.text("SENTRY_DSN")
RELEASE = __version__  # what Sentry shows with each error
SENTRY_ENVIRONMENT = env.text("SENTRY_ENVIRONMENT", "production")
SENTRY_SAMPLE_RATE = env.share("SENTRY_SAMPLE_RATE", 1.0)  # of the errors
SENTRY_TRACES_SAMPLE_RATE = env.share("SENTRY_TRACES_SAMPLE_RATE", 0.0)  # of the requests whose times are sent
# Where OpenTelemetry's spans and metrics go, over HTTP as protobuf; the SDK reads its other variables (OTEL_*) itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")  # the full address, if it differs
OTEL_EXPORTER_OTLP_METRICS_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
OTEL_TRACES_EXPORTER = env.choice("OTEL_TRACES_EXPORTER", "otlp", ("otlp", "none"))
OTEL_METRICS_EXPORTER = env.choice("OTEL_METRICS_EXPORTER", "otlp", ("otlp", "none"))
OTEL_EXPORTER_OTLP_PROTOCOL = env.choice("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", ("http/protobuf",))
OTEL_CAPTURE_CONTENT = env.boolean("OTEL_CAPTURE_CONTENT", False)  # whether spans have prompts and answers

# --- Flags ------------------------------------------------------------------------------------------------------------
# FLAG_STREAMING=off overrides a flag's row; `-` and `.` of the flag's key are written `_`.
FLAG_OVERRIDES = env.booleans("FLAG_")

# --- Logs -------------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.choice("LOG_FORMAT", "auto", ("auto", "json", "console"))
if LOG_FORMAT == "auto":  # lines for people at a terminal, for programs elsewhere
    LOG_FORMAT = "console" if sys.stderr.isatty() else "json"
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = framework_settings.logging_settings(LOG_FORMAT, LOG_LEVEL)

# --- Admin ------------------------------------------------------------------------------------------------------------
UNFOLD = framework_settings.UNFOLD
