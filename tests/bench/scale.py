"""Sizes of benchmarks: full ones for figures, small ones to prove that every benchmark still runs.

``BENCH_SMALL=1 python -m tests.bench`` takes about six minutes; its figures say nothing about speed.
"""

from __future__ import annotations

import os
from typing import TypeVar

SMALL = os.environ.get("BENCH_SMALL") == "1"
Size = TypeVar("Size")


def sized(full: Size, small: Size) -> Size:
    """Return the size that this run uses."""
    return small if SMALL else full
