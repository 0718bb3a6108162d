"""Loaded again, does an export hold the same weights and give the same log-probabilities?"""

from __future__ import annotations

from typing import Any, TypedDict

import torch

from workers.engine.errors import EngineError
from workers.engine.export.source import Source
from workers.engine.packaging.verify import TOLERANCE, largest_difference


class Verification(TypedDict):
    """``difference`` is the largest of any token's log-probability; ``tensors`` were equal bit for bit."""

    how: str
    against: str
    difference: float
    tolerance: float
    tokens: int
    tensors: int


def same_numbers(model: Any, source: Source, how: str, tensors: int) -> Verification:
    """Raises ``EngineError`` if the model's log-probabilities differ from the stored ones."""
    stored = source.stored
    difference = largest_difference(model.eval(), stored.rollouts, stored.temperature)
    tolerance = TOLERANCE[stored.dtype]
    if not difference <= tolerance:  # also when it is not a number
        raise differs(f"a token's log-probability is off by {difference:.4g}, more than {tolerance}")
    return Verification(
        how=how,
        against=stored.made_by,
        difference=difference,
        tolerance=tolerance,
        tokens=sum(len(rollout["completion_ids"]) for rollout in stored.rollouts),
        tensors=tensors,
    )


def same_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> int:
    """How many tensors there are. Raises ``EngineError`` naming the first that is not equal."""
    if missing := found.keys() ^ expected.keys():
        raise differs(f"the tensors {sorted(missing)[:5]} are on one side only")
    for name, tensor in expected.items():
        if not torch.equal(found[name].float(), tensor.float()):
            raise differs(f"the tensor {name} is not what was written")
    return len(expected)


def differs(detail: str) -> EngineError:
    return EngineError(
        "export_differs",
        f"The export, loaded again, is not the model: {detail}. It was thrown away.",
        "Export again. If it happens twice, report it with the architecture and the adapter's settings.",
    )
