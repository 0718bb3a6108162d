"""Train the tool-using starter model by plain GRPO: ``python -m workers.starter.tool_use.grpo_check OUT``.

TRL's own tool loop on the training tasks of the refund desk, measured before and after on held-out ones;
prints one JSON object. The settings of the sample job were chosen with it.
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

from workers.environments.built_in.refund_desk import RefundDesk
from workers.starter.grpo_check import build_config
from workers.starter.measure import load
from workers.starter.tool_use.measure import measure
from workers.starter.tool_use.pretrain import PINNED

EPISODE_TOKENS = 192
LONGEST_EPISODE_CALLS = 10


class TrainedDesk(RefundDesk):
    """The refund desk as TRL's environment: the prompt of a row holds the first message already."""

    def reset(self, seed: int, outcome: str, **_: Any) -> None:  # type: ignore[override]
        """Begin the case of a row."""
        super().reset(seed, outcome)


def load_training_rows() -> Dataset:
    """Return the training tasks with their prompts."""
    return Dataset.from_list(
        [
            {
                "prompt": [
                    {"role": "system", "content": RefundDesk.system_prompt},
                    {"role": "user", "content": RefundDesk().reset(**task)},
                ],
                **task,
            }
            for task in RefundDesk.list_tasks("train")
        ]
    )


def train_and_measure(
    folder: Path, config: GRPOConfig, tasks: list[dict[str, Any]], samples: int
) -> dict[str, object]:
    """Measure, train, measure again, and save the adapter in the config's folder."""
    tokenizer, model = load(folder)
    before = measure(tokenizer, model, tasks, samples)
    config.max_completion_length = EPISODE_TOKENS
    config.max_tool_calling_iterations = LONGEST_EPISODE_CALLS
    trainer: Any = GRPOTrainer(
        model=model,
        args=config,
        train_dataset=load_training_rows(),
        processing_class=tokenizer,
        environment_factory=TrainedDesk,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    started, used = time.monotonic(), time.process_time()
    trainer.train()
    seconds, processor = time.monotonic() - started, time.process_time() - used
    trainer.save_model(config.output_dir)
    after = measure(tokenizer, trainer.model.eval(), tasks, samples)
    return {
        "steps": config.max_steps,
        "train_seconds": round(seconds, 1),
        "train_processor_seconds": round(processor, 1),
        "before": before,
        "after": after,
        "curve": [round(entry["reward"], 3) for entry in trainer.state.log_history if "reward" in entry],
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=PINNED)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=96)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    config = build_config(arguments.out, arguments.steps, arguments.rate, arguments.seed)
    tasks = RefundDesk.list_tasks("test")[: arguments.tasks]
    print(json.dumps(train_and_measure(arguments.model, config, tasks, arguments.samples)))


if __name__ == "__main__":
    main()
