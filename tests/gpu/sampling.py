"""Item 3: sampling 64 completions by the engine's decoder, by ``generate`` and by continuous batching."""

from __future__ import annotations

from typing import Any

import torch

from tests.bench.sampling import count_tokens, decode, generate, generation_config, with_adapter
from tests.gpu.models import free, random_base
from tests.gpu.report import Context
from workers.engine.packaging.verify import TOLERANCE, completion_logprobs

FASTER = 2.0  # the decoder, at least, than ``generate``
COMPARED = 4  # completions whose log-probabilities are computed again


def check(context: Context) -> None:
    """Measure both sizes; the smaller first, so that a cut leaves its figures."""
    for size in context.sized(("1.5B", "7B"), ("1.5B",)):
        _check_size(context, size)
        free(context)


def _check_size(context: Context, size: str) -> None:
    base = random_base(context, size)
    model = with_adapter(base.model, init_lora_weights=False)
    shrink(model)
    prompts, each, most = make_prompts(context), context.sized(8, 2), context.sized(256, 6)
    for warm in (decode, generate):
        warm(base, model, prompts, each, 4)
    rates: dict[str, float] = {}
    results: dict[str, Any] = {}
    for name, draw in {"decoder": decode, "generate": generate}.items():
        context.forget_peak()
        results[name], seconds = context.timed(draw, base, model, prompts, each, most)
        rates[name] = count_tokens(results[name]) / seconds
        measured = {f"{size}_{name}_tokens_per_s": rates[name], f"{size}_{name}_gib": context.peak_gib()}
        context.measure(**measured)
    context.require_on_gpu(
        f"{size}: the decoder is at least {FASTER:g} times as fast as generate.",
        rates["decoder"] >= FASTER * rates["generate"],
    )
    _check_logps(context, size, model, prompts, results["decoder"])
    if not context.small:
        _try_continuous_batching(context, size, base, model, [p for p in prompts for _ in range(each)], most)


def make_prompts(context: Context) -> list[list[int]]:
    """Prompts of random tokens that the tokenizer knows, 8 of 512 in the full form."""
    length, number = context.sized((512, 8), (40, 2))
    generator = torch.Generator().manual_seed(1)
    return torch.randint(300, 1000, (number, length), generator=generator).tolist()


def shrink(model: Any) -> None:
    """Make the random adapter a small part of the output, as after training."""
    for name, each in model.named_parameters():
        if "lora_B" in name:
            each.data *= 0.05


def _check_logps(context: Context, size: str, model: Any, prompts: list[list[int]], drawn: list[Any]) -> None:
    """The decoder's log-probabilities against those of one pass over prompt and completion."""
    worst, tolerance = 0.0, TOLERANCE[str(context.dtype).removeprefix("torch.")]
    for prompt, completions in list(zip(prompts, drawn, strict=True))[:COMPARED]:
        ids, logps = completions.ids[0], torch.tensor(completions.logps[0])
        worst = max(worst, float((completion_logprobs(model, prompt, ids, 1.0) - logps).abs().max()))
    context.measure(**{f"{size}_largest_logp_gap": worst})
    context.require(
        f"{size}: sampled log-probabilities are the model's within {tolerance:g}.", worst <= tolerance
    )


def _try_continuous_batching(
    context: Context, size: str, base: Any, model: Any, prompts: list[list[int]], most: int
) -> None:
    """Measure the backend of unsupported architectures. Its failure is reported, not judged."""
    from transformers.generation import ContinuousBatchingConfig

    options = {
        "generation_config": generation_config(base, most),
        "continuous_batching_config": ContinuousBatchingConfig(max_memory_percent=0.5),
        "progress_bar": False,
    }
    try:
        with torch.no_grad():
            found, seconds = context.timed(model.generate_batch, prompts, **options)
    except Exception as error:
        context.measure(**{f"{size}_continuous_batching_error": f"{type(error).__name__}: {error}"[:200]})
        return
    written = sum(len(output.generated_tokens) for output in found.values())
    context.measure(**{f"{size}_continuous_batching_tokens_per_s": written / seconds})
