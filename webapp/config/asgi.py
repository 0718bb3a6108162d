"""The ASGI entry point: ``uvicorn webapp.config.asgi:application``."""

import logging
import os
import resource
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.config.settings")
django.setup(set_prefix=False)

from webapp.config.bodies import LimitedHandler, Receive, Scope, prepare_folder  # noqa: E402
from webapp.config.gateway import GatewayHandler, is_completion  # noqa: E402
from webapp.config.redaction import TokenFilter  # noqa: E402

_, MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))  # an open stream needs two
prepare_folder()
logging.getLogger("uvicorn.access").addFilter(TokenFilter())
pages = LimitedHandler()
gateway = GatewayHandler()


async def application(scope: Scope, receive: Receive, send: Any) -> None:
    """Completions have a handler of their own; pages and the rest of the API share one."""
    handler = gateway if is_completion(scope) else pages
    await handler(scope, receive, send)
