"""Wait for a model that loads. All requests for it share one wait and, for seconds, one result."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from django.conf import settings

from webapp.core.api.errors import ApiError
from webapp.serving import servers
from webapp.serving.gateway import threads
from webapp.serving.gateway.recent import Recent
from webapp.serving.routing import Route
from webapp.serving.servers import ServedModel, ServerFailed

KNOWN_SECONDS = 2.0
LOOK_SECONDS = 0.25
LOADING_RETRY, FAILED_RETRY = 10, 30  # seconds
LOADING = "The model {!r} is still loading. Send the request again in some seconds."
FAILED = "The model {!r} cannot be served: {}"


_known: Recent[tuple[int, str], ServedModel] = Recent(KNOWN_SECONDS)


async def wait_until_served(route: Route) -> ServedModel:
    """Return where the model answers. Raises ApiError (503) if it is not ready within the limit."""
    return await _known.find((route.base.pk, route.sha256), partial(_wait, route))


def forget(route: Route) -> None:
    """Look the model up again at the next request: its server did not answer as expected."""
    _known.forget((route.base.pk, route.sha256))


async def _wait(route: Route) -> ServedModel:
    end = time.monotonic() + settings.SERVE_WAIT_SECONDS
    try:
        while (served := await threads.run(servers.find_served, route)) is None:
            if time.monotonic() > end:
                raise ApiError(LOADING.format(route.name), status=503, retry_after=LOADING_RETRY)
            await asyncio.sleep(LOOK_SECONDS)
    except ServerFailed as error:
        raise ApiError(FAILED.format(route.name, error), status=503, retry_after=FAILED_RETRY) from error
    return served
