"""Inputs of an item, and its report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

Size = TypeVar("Size")
GIB = 2**30


@dataclass(frozen=True)
class Context:
    """The device, a folder, and the report. ``small``: tiny models on the CPU."""

    folder: Path
    small: bool

    @property
    def device(self) -> torch.device:
        """The only GPU, or the CPU in the small form."""
        return torch.device("cpu" if self.small else "cuda", *([] if self.small else [0]))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of base models: that of jobs on this device."""
        return torch.float32 if self.small else torch.bfloat16

    def sized(self, full: Size, small: Size) -> Size:
        """Return the size that this run uses."""
        return small if self.small else full

    def measure(self, **values: Any) -> None:
        """Write measurements at once: an item that is cut keeps them."""
        self._write({"measured": {name: rounded(value) for name, value in values.items()}})

    def require(self, promise: str, holds: bool) -> None:
        """Write ``promise`` down as broken unless it holds."""
        if not holds:
            self._write({"failed": promise})

    def require_on_gpu(self, promise: str, holds: bool) -> None:
        """Check speed or device memory, which the small form does not judge."""
        self.require(promise, holds or self.small)

    def _write(self, line: dict[str, Any]) -> None:
        with (self.folder / "report.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    # --- the device ------------------------------------------------------------------------------

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        if not self.small:
            torch.cuda.synchronize()

    def forget_peak(self) -> None:
        """Free what PyTorch keeps for later and begin a new peak."""
        if not self.small:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float:
        """GiB allocated at most since ``forget_peak``; 0 on a CPU, which does not count them."""
        return 0.0 if self.small else torch.cuda.max_memory_allocated() / GIB

    def timed(self, work: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float]:
        """Return the result of ``work`` and its seconds, including those of the device."""
        self.synchronize()
        began = time.perf_counter()
        result = work(*args, **options)
        self.synchronize()
        return result, time.perf_counter() - began

    def median_seconds(self, work: Callable[[], Any], runs: int) -> float:
        """The median over ``runs`` runs, after one that does not count."""
        work()
        return median(self.timed(work)[1] for _ in range(runs))


def rounded(value: Any) -> Any:
    """Four significant digits are enough to read."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
