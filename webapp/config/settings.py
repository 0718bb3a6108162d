"""Settings. Installations set their own in the environment (``docs/configuration.md``)."""

from __future__ import annotations

import os
from pathlib import Path

from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp.config import cache, env

os.umask(0o077)  # other users of the machine must not read datasets, rollouts and adapters

BASE_DIR = Path(__file__).resolve().parents[2]
VAR_DIR = Path(env.text("GROOVE_VAR", str(BASE_DIR / "var"))).resolve()
EMBEDDED = env.read_embedded_urls(VAR_DIR)

PRODUCTION = env.flag("GROOVE_PRODUCTION", False)
DEBUG = env.flag("GROOVE_DEBUG", False)
SECRET_KEY = env.text("GROOVE_SECRET_KEY") or ("" if PRODUCTION else env.secret(VAR_DIR / "secret"))
SECRET_KEY_FALLBACKS = env.comma_list("GROOVE_OLD_SECRET_KEYS")
SALT_KEY = "groove: keys of judges"  # separates this use of the secret from others
ALLOWED_HOSTS = env.comma_list("GROOVE_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,[::1],testserver")
CSRF_TRUSTED_ORIGINS = env.comma_list("GROOVE_ORIGINS")

if not SECRET_KEY:
    raise ImproperlyConfigured(
        "GROOVE_PRODUCTION is on, but GROOVE_SECRET_KEY is not set. Set it to 50 or more random characters, "
        "for example from: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )
if PRODUCTION and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 10):
    raise ImproperlyConfigured(
        "GROOVE_PRODUCTION is on, but GROOVE_SECRET_KEY is short or repeats itself. It signs sessions and "
        "encrypts keys: set it to 50 or more random characters."
    )
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured(
        "GROOVE_PRODUCTION and GROOVE_DEBUG are both on. Debug pages show settings and code: turn one off."
    )
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("GROOVE_PRODUCTION is on, but GROOVE_HOSTS does not name the hosts to serve")

DATABASE_URL = env.text("DATABASE_URL", EMBEDDED.get("database", "postgresql://groove@127.0.0.1:5432/groove"))
BROKER_URL = env.text("BROKER_URL", EMBEDDED.get("broker", "redis://127.0.0.1:6379/0"))
STORAGE_URL = env.text("STORAGE_URL", f"file://{VAR_DIR / 'storage'}")

CACHES = {"default": cache.configure(BROKER_URL)}
DATABASES = {"default": env.database(DATABASE_URL)}
STORAGES = {
    "default": env.storage(STORAGE_URL),
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "csp",
    "django_cotton.apps.SimpleAppConfig",
    "django_htmx",
    "ninja",
    "template_partials.apps.SimpleAppConfig",
    "webapp.config.apps.ConfigConfig",
    "webapp.core",
    "webapp.teams",
    "webapp.keys",
    "webapp.work",
    "webapp.webhooks",
    "webapp.datasets",
    "webapp.registry",
    "webapp.endpoints",
    "webapp.graders",
    "webapp.environments",
    "webapp.calibration",
    "webapp.jobs",
    "webapp.evaluations",
    "webapp.retention",
    "webapp.catalog",
    "webapp.experiments",
    "webapp.deployments",
    "webapp.interactions",
    "webapp.serving",
    "webapp.evals",
    "webapp.playground",
    "webapp.judges",
    "webapp.remote_imports",
    "webapp.home",
    "webapp.seeding",
]
MIDDLEWARE = [
    "webapp.core.request_ids.add_request_id",
    "webapp.core.api.middleware.envelop_errors",
    "webapp.core.input_checks.refuse_unreadable",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "webapp.core.middleware.vary_on_htmx",
    "webapp.core.middleware.redirect_to_sign_in",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "webapp.keys.idempotency.IdempotentAnswers",
]
ROOT_URLCONF = "webapp.config.urls"
ASGI_APPLICATION = "webapp.config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "template_partials.loader.Loader",
                    [
                        (
                            "django.template.loaders.cached.Loader",
                            [
                                "django_cotton.cotton_loader.Loader",
                                "django.template.loaders.filesystem.Loader",
                                "django.template.loaders.app_directories.Loader",
                            ],
                        )
                    ],
                )
            ],
            "builtins": [
                "django_cotton.templatetags.cotton",
                "template_partials.templatetags.partials",
            ],
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "webapp.teams.context.build_team_context",
                "webapp.config.help_links.build_help_url",
            ],
        },
    }
]
COTTON_DIR = "components"
COTTON_SNAKE_CASED_NAMES = False

AUTH_USER_MODEL = "teams.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
MAIL_URL = env.text("MAIL_URL")
ACCOUNT_EMAIL_VERIFICATION = env.choice(
    "GROOVE_EMAIL_VERIFICATION", "mandatory" if MAIL_URL else "none", {"mandatory", "none"}
)
ACCOUNT_CHANGE_EMAIL = True  # a confirmed new address replaces the old one
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 1
PASSWORD_RESET_TIMEOUT = 3600
ACCOUNT_ADAPTER = "webapp.teams.accounts.AccountAdapter"
ACCOUNT_LOGOUT_ON_GET = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
globals().update(env.mail(MAIL_URL, log=not PRODUCTION))
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.text("GROOVE_MAIL_FROM", "Groove <groove@localhost>")
SITE_URL = env.text("GROOVE_URL").rstrip("/")
# Without mail no address can be confirmed, so production allows sign-up only with mail.
SIGNUP_OPEN = env.flag("GROOVE_SIGNUP", not PRODUCTION or bool(MAIL_URL))

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not PRODUCTION
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20
DATA_UPLOAD_MAX_NUMBER_FILES = 4
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_TEMP_DIR = str(VAR_DIR / "tmp")
BASE_MODEL_ROOTS = [
    BASE_DIR / "workers/starter",
    *env.folders("GROOVE_BASE_MODEL_ROOTS", str(VAR_DIR / "models")),
]
ALLOW_PICKLED_WEIGHTS = env.flag("GROOVE_ALLOW_PICKLED_WEIGHTS", False)
# Hosts that outbound requests for users (judges, imports) may reach besides public addresses.
OUTBOUND_ALLOW = env.outbound_allow("GROOVE_OUTBOUND_ALLOW")
# On by default: the outbound client refuses internal addresses.
DATASET_IMPORTS = env.flag("GROOVE_DATASET_IMPORTS", True)
HUB_URL = env.text("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
MAX_UPLOAD_BYTES = env.number("GROOVE_MAX_UPLOAD_BYTES", 8 * 2**30, at_least=1)
MAX_API_FILE_BYTES = env.number("GROOVE_MAX_API_FILE_BYTES", 512 * 2**20, at_least=1)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
BEHIND_PROXY = env.flag("GROOVE_BEHIND_PROXY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# Proxies whose X-Forwarded-For counts for rate limits.
ALLAUTH_TRUSTED_PROXY_COUNT = env.number("GROOVE_TRUSTED_PROXIES", int(BEHIND_PROXY))
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

API_REQUESTS_PER_MINUTE = env.number("GROOVE_API_REQUESTS_PER_MINUTE", 600, at_least=1)

WEBHOOK_SECONDS = 10  # the whole request, from the look-up of the host to the status

# Jobs
LEASE_SECONDS = env.number("GROOVE_LEASE_SECONDS", 30, at_least=3)
BELL_SECONDS = env.number("GROOVE_BELL_SECONDS", 10, at_least=1)
MAX_CRASHES = env.number("GROOVE_MAX_CRASHES", 3, at_least=0)
WARM_ENGINES = env.flag("GROOVE_WARM_ENGINES", True)
STOP_GRACE_SECONDS = env.number("GROOVE_STOP_GRACE_SECONDS", 8, at_least=1)
GPU_HOUR_PRICE = env.price("GROOVE_GPU_HOUR_PRICE")
CPU_CORES = env.number("GROOVE_CPU_CORES", env.count_cores(), at_least=1)
WORK_DIR = Path(env.text("GROOVE_WORK", str(VAR_DIR / "work"))).resolve()

# Serving
SERVE_HOST = env.text("GROOVE_SERVE_HOST", "127.0.0.1")
SERVE_IDLE_SECONDS = env.number("GROOVE_SERVE_IDLE_SECONDS", 900, at_least=1)
SERVE_WAIT_SECONDS = env.number("GROOVE_SERVE_WAIT_SECONDS", 120, at_least=1)
SERVE_CORES = env.number("GROOVE_SERVE_CORES", max(1, min(4, CPU_CORES // 2)), at_least=1)
SERVE_THREADS = env.number("GROOVE_SERVE_THREADS", 8)
SERVE_OPEN_REQUESTS = env.number("GROOVE_SERVE_OPEN_REQUESTS", 512, at_least=1)

# Celery messages only wake workers up, so they are acknowledged early. Jobs are leased rows.
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_IMPORTS = ["workers.tasks", "workers.bridge.nodes"]
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULE = {
    "reap": {
        "task": "workers.tasks.reap",
        "schedule": float(BELL_SECONDS),
        "options": {"expires": float(BELL_SECONDS)},
    },
    "tidy": {"task": "workers.tasks.tidy", "schedule": 3600.0, "options": {"expires": 3600.0}},
}

QUIET = ("celery.worker.strategy", "celery.app.trace", "httpx2")  # a line for each message or request
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s %(request_id)s: %(message)s"}},
    "filters": {
        "tokens": {"()": "webapp.config.redaction.TokenFilter"},
        "request_ids": {"()": "webapp.core.request_ids.RequestIdFilter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["tokens", "request_ids"],
        }
    },
    "loggers": {name: {"level": "WARNING"} for name in QUIET},
    "root": {"handlers": ["stderr"], "level": env.text("GROOVE_LOG_LEVEL", "INFO")},
}
