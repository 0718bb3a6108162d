"""The queue of endpoint checks."""

from __future__ import annotations

from webapp.endpoints.models import EndpointCheck
from webapp.work.queue import Queue

ENDPOINT_CHECKS = Queue(
    EndpointCheck, "endpoint_checks", "check_endpoint", "Check again.", related=("endpoint__team",)
)
