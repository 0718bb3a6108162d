"""How much memory a job took: ``python -m tests.bench.memory_probe SPEC.json OUT``.

Prints the estimate made before training and the peak of this process beyond what it held before the model.
"""

import json
import os
import resource
import sys
from pathlib import Path

from workers.engine import run as engine
from workers.events import Event
from workers.grading import open_grader
from workers.spec import JobSpec

PAGE = os.sysconf("SC_PAGE_SIZE")
path, out = Path(sys.argv[1]), Path(sys.argv[2])
spec = JobSpec.model_validate_json(path.read_text())
out.mkdir()


def held() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def say(event: Event) -> None:
    """Nobody listens."""


with open_grader(spec.grader, seed=0):  # its imports are not the model's memory
    before = held()
job = engine.Job(spec, path.parent, out, say, lambda: False)
engine.run_job(job, None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
assert job.memory is not None
print(json.dumps({"estimated": job.memory.total, "measured": peak - before}))
