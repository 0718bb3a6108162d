"""Who samples a step's rollouts: vLLM, the engine's own decoder, or transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

VLLM = "vLLM samples the rollouts, in this process and on the same GPU, and sleeps while training runs."
OWN = "The engine's own decoder samples the rollouts."
CONTINUOUS = "transformers' continuous batching samples the rollouts."
GENERATE = "transformers' generate samples the rollouts."


@dataclass(frozen=True)
class Backend:
    """A way to sample. ``options`` are the fields of TRL's ``GRPOConfig`` that turn it on."""

    message: str
    options: dict[str, bool | int | str] = field(default_factory=dict)


def vllm_installed() -> bool:
    """Whether vLLM could be imported; it is not imported, which would take seconds and memory."""
    return find_spec("vllm") is not None


def choose(device: str, shares: bool, longest: int, vllm: bool) -> Backend:
    """The fastest backend for ``device`` ("cpu" or "cuda").

    ``shares`` says whether the engine's decoder knows the model, ``longest`` is the most tokens that a
    prompt and its answer have together, ``vllm`` whether vLLM is installed.
    """
    if device == "cuda" and vllm:
        return Backend(
            VLLM,
            {
                "use_vllm": True,
                "vllm_mode": "colocate",
                # Without sleep its cache would hold memory that the plan of the passes counts on.
                "vllm_enable_sleep_mode": True,
                "vllm_max_model_length": longest,
            },
        )
    if shares:
        return Backend(OWN)
    if device == "cuda":
        return Backend(CONTINUOUS, {"use_transformers_continuous_batching": True})
    return Backend(GENERATE)
