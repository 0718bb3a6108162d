"""State of all random generators: saved and restored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Randomness:
    """State of all generators at one moment."""

    python: Any
    numpy: Any
    torch: Any
    cuda: list[Any]

    @classmethod
    def now(cls) -> Randomness:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Restore every generator."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


@contextmanager
def isolated_randomness(seed: int) -> Iterator[None]:
    """Seed PyTorch inside and restore every generator afterwards, so that training is not disturbed."""
    before = Randomness.now()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        before.restore()
