"""Endpoints and keys of a job's judges."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workers.contract.spec import JudgeEndpoint
from workers.grading.results import GradingUnavailable


@dataclass(frozen=True)
class Judges:
    """The judges of one job, by the name that graders use. Keys stay in memory, in no spec and no log.

    ``cache`` is a folder for verdicts, kept beyond the job; without one nothing is remembered.
    """

    endpoints: Mapping[str, JudgeEndpoint] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: Path | None = None

    def endpoint(self, model: str) -> JudgeEndpoint:
        """Return the endpoint of a judge. Raises ``GradingUnavailable`` if none is connected."""
        if model not in self.endpoints:
            raise GradingUnavailable(
                f"no endpoint is connected for the judge model {model!r}.",
                "Connect one under Judges, with this name.",
            )
        return self.endpoints[model]


def read_keys(descriptor: int | None) -> dict[str, str]:
    """Read keys or secrets, a JSON object by name, from an inherited pipe; none without a descriptor."""
    if descriptor is None:
        return {}
    with os.fdopen(descriptor, "rb") as pipe:
        keys: dict[str, str] = json.loads(pipe.read() or b"{}")
    return keys
