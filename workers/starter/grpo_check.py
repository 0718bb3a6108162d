"""Train the starter model by plain GRPO: ``python -m workers.starter.grpo_check OUT [--steps N] [--seed S]``.

Stock TRL with a LoRA adapter on the sample rows, measured before and after on held-out ones; prints one JSON
object. The settings of the sample job were chosen with it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from workers.starter.measure import MAX_NEW_TOKENS, MODEL, draw_held_out, load, measure
from workers.starter.sample.build import HERE
from workers.starter.sample.fields import grade

TRAINING_SHARE = 0.8


def load_training_rows() -> Dataset:
    """Load the first 80% of the sample rows in TRL's form."""
    lines = (HERE / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[: int(TRAINING_SHARE * len(lines))]]
    return Dataset.from_list(
        [{"prompt": row["messages"], "reference": json.dumps(row["reference"])} for row in rows]
    )


def reward(completions: list[list[dict[str, str]]], reference: list[str], **_: Any) -> list[float | None]:
    """The sample grader as a TRL reward function."""
    return [
        grade({"output_text": turns[0]["content"]}, {"reference": json.loads(right)})
        for turns, right in zip(completions, reference, strict=True)
    ]


def build_config(out: Path, steps: int, rate: float, seed: int) -> GRPOConfig:
    """Return settings for a CPU: 8 prompts x 8 samples per step, no KL term, float32."""
    return GRPOConfig(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=64,
        num_generations=8,
        max_completion_length=MAX_NEW_TOKENS,
        learning_rate=rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=3,
        beta=0.0,
        loss_type="dapo",
        seed=seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def train_and_measure(
    model_folder: Path, config: GRPOConfig, prompts: int, samples: int
) -> dict[str, object]:
    """Measure, train, measure again, and save the adapter in the config's folder."""
    tokenizer, model = load(model_folder)
    examples = draw_held_out(prompts)
    before = measure(tokenizer, model, examples, samples)
    trainer: Any = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=load_training_rows(),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    started = time.monotonic()
    trainer.train()
    seconds = round(time.monotonic() - started, 1)
    trainer.save_model(config.output_dir)
    after = measure(tokenizer, trainer.model.eval(), examples, samples)
    curve = [round(entry["reward"], 3) for entry in trainer.state.log_history if "reward" in entry]
    return {
        "steps": config.max_steps,
        "train_seconds": seconds,
        "before": before,
        "after": after,
        "curve": curve,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--samples", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    config = build_config(arguments.out, arguments.steps, arguments.rate, arguments.seed)
    print(json.dumps(train_and_measure(arguments.model, config, arguments.prompts, arguments.samples)))


if __name__ == "__main__":
    main()
