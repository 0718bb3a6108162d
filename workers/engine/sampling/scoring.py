"""Log-probabilities of completions by any causal language model, and a check of its sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from workers.engine.base_model import model_errors
from workers.engine.packaging.verify import completion_logprobs

if TYPE_CHECKING:
    from workers.engine.base_model.models import Base
    from workers.engine.training.checkpointing import CheckpointingMixin

PROBE_TOKENS = 6
AGREEMENT = {torch.float32: 1e-2, torch.bfloat16: 0.5, torch.float16: 0.5}
"""Largest mean difference of a token's log-probability between two computations, by precision."""


def per_token(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and entropies (rows, keep) of the last ``keep`` columns, 0 where ``mask`` is.

    ``ids`` (rows, width) is padded on the left of the prompts and on the right of the completions. The model
    reads the rows with all padding at their right end. Otherwise absolute positions (GPT-2) and states that
    run along the row (RWKV) would differ from those without padding.
    """
    order = mask.argsort(dim=1, descending=True, stable=True)
    shifted, shifted_mask = ids.gather(1, order), mask.gather(1, order)
    columns = torch.arange(ids.size(1), device=ids.device)
    scored = (mask.bool() & (columns >= ids.size(1) - keep)).gather(1, order)
    outputs = model(
        input_ids=shifted,
        attention_mask=shifted_mask,
        labels=shifted.masked_fill(~scored, -100),
        fused_lm_head=True,
    )
    return (
        _restore_order(outputs.log_probs, order, keep),
        _restore_order(outputs.entropy, order, keep),
    )


def _restore_order(values: torch.Tensor, order: torch.Tensor, keep: int) -> torch.Tensor:
    """Undo ``order`` on values (rows, width - 1) of all columns but the first; return ``keep`` columns."""
    whole = torch.cat([values.new_zeros(len(values), 1), values], dim=1)
    return torch.zeros_like(whole).scatter(1, order, whole)[:, -keep:]


def refuse_disagreement(
    base: Base, trainer: CheckpointingMixin, prompts: list[list[int]], temperature: float
) -> None:
    """Raise ``EngineError`` unless sampling and training reproduce the model's own log-probabilities.

    Two prompts of different lengths are continued together, as in sampling.
    """
    rows = sorted(prompts, key=len)
    try:
        _check_both(base, trainer, [rows[0], rows[-1]], temperature)
    except (AttributeError, TypeError, ValueError, IndexError, KeyError, NotImplementedError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise model_errors.family_fails(base.model.config.model_type, detail) from error


def _check_both(base: Base, trainer: CheckpointingMixin, pair: list[list[int]], temperature: float) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.eval()
    sampled, logps = _continue_greedily(model, base, pair)
    for prompt, ids, found in zip(pair, sampled, logps, strict=True):
        _compare(base, "sampling gives", found, completion_logprobs(model, prompt, ids, 1.0))
        scored = torch.tensor(trainer.logprobs(prompt, ids))
        _compare(base, "training gives", scored, completion_logprobs(model, prompt, ids, temperature))


def _compare(base: Base, who: str, found: torch.Tensor, own: torch.Tensor) -> None:
    difference, most = float((found - own).abs().mean()), AGREEMENT[base.model.dtype]
    if not difference <= most:  # also when it is not a number
        raise model_errors.sampling_disagrees(base.model.config.model_type, who, difference, most)


@torch.no_grad()
def _continue_greedily(
    model: Any, base: Base, prompts: list[list[int]]
) -> tuple[list[list[int]], torch.Tensor]:
    """Return the most likely tokens after each prompt, by ``generate``, and their log-probabilities."""
    inputs = base.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    owner: PreTrainedModel = model.get_base_model()
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=PROBE_TOKENS,
        min_new_tokens=PROBE_TOKENS,
        eos_token_id=base.eos_ids,
        pad_token_id=base.tokenizer.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
        disable_compile=True,
    )
    before, owner.generation_config = owner.generation_config, config
    training = owner.training
    try:
        output: Any = owner.eval().generate(**inputs.to(owner.device), generation_config=config)
    finally:
        owner.generation_config = before
        owner.train(training)
    ids = output.sequences[:, inputs["input_ids"].size(1) :]
    logits = torch.stack(output.logits, dim=1).float()
    logps = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return ids.tolist(), logps.cpu()
