"""Generated requests to every operation of the API, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.bench.result import Result
from tests.bench.scale import sized

TEST = "tests/api/document/test_schema.py::test_every_answer_is_one_that_the_document_describes"
CASES = sized(2000, 60)


def run() -> Result:
    """Send 2,000 requests. No answer may be a fault, or one that the OpenAPI document does not describe."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST]
    failed = subprocess.run(command, env=os.environ | {"GROOVE_SCHEMA_CASES": str(CASES)}).returncode != 0
    note = f"{CASES} requests at least, of schemathesis; 0: no fault and no violation of the schema"
    return Result("api_schema", float(failed), "failed runs", 0.0, [float(failed)], note)
