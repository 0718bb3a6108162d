"""The queues of judge cards and of checks of endpoints."""

from __future__ import annotations

from webapp.judges.models import EndpointCheck, JudgeCard
from webapp.work.queue import Queue

CARDS = Queue(JudgeCard, "cards", "make_card", "Make the card again.", related=("team", "grader_version"))
ENDPOINT_CHECKS = Queue(
    EndpointCheck, "endpoint_checks", "check_endpoint", "Check again.", related=("endpoint__team",)
)
