"""The queue of judge cards."""

from __future__ import annotations

from webapp.calibration.models import JudgeCard
from webapp.work.queue import Queue

CARDS = Queue(JudgeCard, "cards", "make_card", "Make the card again.", related=("team", "grader_version"))
