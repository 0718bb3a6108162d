"""The ASGI entry point: ``uvicorn webapp.config.asgi:application``."""

import logging
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.config.settings")
django.setup(set_prefix=False)

from webapp.config.bodies import LimitedHandler, prepare_folder  # noqa: E402
from webapp.config.redaction import TokenFilter  # noqa: E402

prepare_folder()
logging.getLogger("uvicorn.access").addFilter(TokenFilter())
application = LimitedHandler()
