"""First steps of every process that loads a model: its environment and its lifeline."""

from __future__ import annotations

import os
import threading

LIFELINE_CUT = 75


def set_environment() -> None:
    """Turn off telemetry, progress bars and spinning threads; call it before torch is imported."""
    os.environ |= {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    # Threads that spin while they wait make a step ten times slower when another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def follow_lifeline(descriptor: int | None) -> None:
    """End this process as soon as the other end of the pipe closes, so that no orphan works on."""
    if descriptor is None:
        return

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        os._exit(LIFELINE_CUT)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
