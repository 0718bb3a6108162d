"""Measures a model on new rows: ``python -m workers.starter.measure [MODEL] [--adapter FOLDER]``.

Prints one JSON object with, for all rows and for each task, the strict pass@1, the unbiased pass@k of the
HumanEval paper (Chen et al., 2021) and the mean reward of the sample grader.
"""

from __future__ import annotations

import argparse
import json
from math import comb
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.starter.office_tasks import Example, draw_example, make_random
from workers.starter.sample.fields import grade

MODEL = Path(__file__).parent / "model"
HELD_OUT_SEED = 1_000_000
MAX_NEW_TOKENS = 40
ROWS_AT_ONCE = 256


def load(folder: Path | str = MODEL, adapter: Path | str | None = None) -> tuple[Any, Any]:
    """Load tokenizer and float32 model, with a LoRA adapter if one is given."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return tokenizer, model.eval()


def draw_held_out(count: int, seed: int = HELD_OUT_SEED) -> list[Example]:
    """Draw examples from a seed that pretraining and the sample data set do not use."""
    rng = make_random(seed)
    return [draw_example(rng) for _ in range(count)]


def sample(tokenizer: Any, model: Any, prompts: list[str], count: int) -> list[list[str]]:
    """Sample ``count`` answers to each prompt at temperature 1 from the whole distribution."""
    stride = max(1, ROWS_AT_ONCE // count)
    groups: list[list[str]] = []
    for start in range(0, len(prompts), stride):
        answers = _generate(tokenizer, model, prompts[start : start + stride], count)
        groups += [answers[first : first + count] for first in range(0, len(answers), count)]
    return groups


@torch.no_grad()
def _generate(tokenizer: Any, model: Any, prompts: list[str], count: int) -> list[str]:
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    generated = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=MAX_NEW_TOKENS,
        num_return_sequences=count,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
    )
    answers: list[str] = tokenizer.batch_decode(
        generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return answers


def pass_at(k: int, samples: int, right: int) -> float:
    """Return the unbiased probability that one of ``k`` samples is right, given ``right`` of ``samples``."""
    if samples < k:
        raise ValueError(f"pass@{k} needs at least {k} samples a prompt, not {samples}: raise --samples")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def summarise(rewards: list[list[float]], k: int) -> dict[str, float]:
    """Return means over prompts; ``rewards`` has one list of sample rewards per prompt."""
    right = [sum(reward == 1.0 for reward in group) for group in rewards]
    return {
        "prompts": len(rewards),
        "pass_at_1": _mean([count / len(group) for count, group in zip(right, rewards, strict=True)]),
        f"pass_at_{k}": _mean(
            [pass_at(k, len(group), count) for count, group in zip(right, rewards, strict=True)]
        ),
        "mean_reward": _mean([sum(group) / len(group) for group in rewards]),
    }


def measure(
    tokenizer: Any, model: Any, examples: list[Example], samples: int, k: int = 8
) -> dict[str, dict[str, float]]:
    """Sample, grade and summarise, over ``all`` examples and by task."""
    answers = sample(tokenizer, model, [example.prompt for example in examples], samples)
    rewards = [
        [grade({"output_text": text}, {"reference": example.reference}) for text in group]
        for example, group in zip(examples, answers, strict=True)
    ]
    report = {"all": summarise(rewards, k)}
    for task in sorted({example.task for example in examples}):
        own = [group for example, group in zip(examples, rewards, strict=True) if example.task == task]
        report[task] = summarise(own, k)
    return report


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tokenizer, model = load(arguments.model, arguments.adapter)
    print(json.dumps(measure(tokenizer, model, draw_held_out(arguments.prompts), arguments.samples)))


if __name__ == "__main__":
    main()
