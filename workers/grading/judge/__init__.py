"""Judges: models that grade. Reached over an OpenAI-compatible API, within the limits of a job."""

from workers.grading.judge.endpoints import Judges, read_keys

__all__ = ["Judges", "read_keys"]
