"""Checks of an export after loading it again: equal weights and equal log-probabilities."""

from __future__ import annotations

from typing import Any, TypedDict

import torch

from workers.engine.errors import EngineError
from workers.engine.export.source import Source
from workers.engine.packaging.verify import TOLERANCE, largest_difference


class Verification(TypedDict):
    """``difference`` is the largest of a token's log-probability; ``tensors`` are equal bit for bit."""

    how: str
    against: str
    difference: float
    tolerance: float
    tokens: int
    tensors: int


def check_logprobs(model: Any, source: Source, how: str, tensors: int) -> Verification:
    """Raise ``EngineError`` if the model's log-probabilities differ from the stored ones."""
    stored = source.stored
    difference = largest_difference(model.eval(), stored.rollouts, stored.temperature)
    tolerance = TOLERANCE[stored.dtype]
    if not difference <= tolerance:  # also when it is not a number
        raise export_differs(f"a token's log-probability differs by {difference:.4g}, more than {tolerance}")
    return Verification(
        how=how,
        against=stored.made_by,
        difference=difference,
        tolerance=tolerance,
        tokens=sum(len(rollout["completion_ids"]) for rollout in stored.rollouts),
        tensors=tensors,
    )


def check_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> int:
    """Return the number of tensors. Raises ``EngineError`` with the first that is not equal."""
    if missing := found.keys() ^ expected.keys():
        raise export_differs(f"the tensors {sorted(missing)[:5]} are on one side only")
    for name, tensor in expected.items():
        if not torch.equal(found[name].float(), tensor.float()):
            raise export_differs(f"the tensor {name} is not what was written")
    return len(expected)


def export_differs(detail: str) -> EngineError:
    return EngineError(
        "export_differs",
        f"The export, loaded again, is not the same model: {detail}. It was deleted.",
        "Export again. If it happens twice, report it with the architecture and the adapter's settings.",
    )
