"""Measures how busy the device is while steps run."""

from __future__ import annotations

import threading
import time

import torch

SAMPLE_SECONDS = 0.5


class Usage:
    """Measures from its creation on. A thread samples GPUs until the process ends."""

    def __init__(self) -> None:
        self._since, self._worked = time.monotonic(), time.process_time()
        self._samples: list[float] = []
        if torch.cuda.is_available():
            threading.Thread(target=self._sample, name="usage", daemon=True).start()

    def take(self) -> dict[str, float]:
        """Return ``device/busy``, 0 to 1, since the last call (``docs/metrics.md``); empty if unknown."""
        if torch.cuda.is_available():
            samples, self._samples = self._samples, []
            return {"device/busy": sum(samples) / len(samples)} if samples else {}
        now, worked = time.monotonic(), time.process_time()
        share = (worked - self._worked) / max((now - self._since) * torch.get_num_threads(), 1e-9)
        self._since, self._worked = now, worked
        return {"device/busy": min(share, 1.0)}

    def _sample(self) -> None:
        while True:
            try:
                self._samples.append(torch.cuda.utilization() / 100)
            except Exception:  # NVML may be missing or refuse: then the usage is unknown
                return
            time.sleep(SAMPLE_SECONDS)
