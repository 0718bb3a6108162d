"""The engine's command line with deterministic algorithms: ``python -m tests.gpu.deterministic run …``."""

from __future__ import annotations

import os
import sys

from workers.process import set_environment


def main() -> int:
    """Run the engine; operations without a deterministic form only warn."""
    set_environment()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from workers.engine.__main__ import main as engine

    torch.use_deterministic_algorithms(True, warn_only=True)
    return engine()


if __name__ == "__main__":
    sys.exit(main())
