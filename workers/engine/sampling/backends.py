"""Backends that sample a step's rollouts: the engine's own decoder, or transformers."""

from __future__ import annotations

from dataclasses import dataclass, field

OWN = "The engine's own decoder samples the rollouts."
CONTINUOUS = "transformers' continuous batching samples the rollouts."
GENERATE = "transformers' generate samples the rollouts."


@dataclass(frozen=True)
class Backend:
    """A way to sample. ``options`` are the fields of TRL's ``GRPOConfig`` that turn it on."""

    message: str
    options: dict[str, bool | int | str] = field(default_factory=dict)


def choose_backend(device: str, shares: bool) -> Backend:
    """Return the fastest backend for ``device`` ("cpu" or "cuda").

    ``shares`` is true if the engine's decoder supports the model. TRL's vLLM modes are no choice: they merge
    the adapter into the base and back at every step, which rounds a base in bfloat16 (trl#6688).
    """
    if shares:
        return Backend(OWN)
    if device == "cuda":
        return Backend(CONTINUOUS, {"use_transformers_continuous_batching": True})
    return Backend(GENERATE)
