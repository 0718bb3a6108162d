"""Memory of a job: ``python -m tests.bench.probes.memory_probe SPEC.json OUT``.

Prints the estimate made before training and the peak of this process.
"""

import json
import resource
import sys
from pathlib import Path

from workers.contract.events import Event
from workers.contract.spec import JobSpec
from workers.engine import run as engine

path, out = Path(sys.argv[1]), Path(sys.argv[2])
spec = JobSpec.model_validate_json(path.read_text())
out.mkdir()


def say(event: Event) -> None:
    """Nobody listens."""


job = engine.Job(spec, path.parent, out, say, lambda: False)
engine.run_job(job, None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
assert job.memory is not None
print(json.dumps({"estimated": job.memory.total, "measured": peak}))
