"""Cost of reporting: ``python -m tests.bench.probes.event_probe SPEC.json OUT``.

Prints the seconds that metrics, rollouts, alarms and events took, and those of the whole training.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from workers.contract.events import EventWriter, MetricsEvent, parse
from workers.contract.spec import JobSpec
from workers.engine import run as engine
from workers.engine.training.reporting import Reporter

path, out = Path(sys.argv[1]), Path(sys.argv[2])
spec = JobSpec.model_validate_json(path.read_text())
out.mkdir()
telling = 0.0
report = Reporter.on_log


def timed(self: Reporter, *args: Any, **kwargs: Any) -> None:
    global telling
    began = time.perf_counter()
    report(self, *args, **kwargs)
    telling += time.perf_counter() - began


Reporter.on_log = timed  # type: ignore[method-assign]
with (out / "events.jsonl").open("a") as file:
    job = engine.Job(spec, path.parent, out, EventWriter(file), lambda: False)
    engine.run_job(job, None)
events = [parse(line) for line in (out / "events.jsonl").read_text().splitlines()]
measuring = sum(event.values["time/measuring"] for event in events if isinstance(event, MetricsEvent))
print(json.dumps({"telling": telling, "measuring": measuring, "training": job.train_seconds}))
