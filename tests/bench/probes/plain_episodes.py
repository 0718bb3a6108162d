"""The refund desk by TRL's tool loop: ``python -m tests.bench.probes.plain_episodes SPEC.json OUT``.

Prints the seconds that ``trainer.train()`` took and the mean reward of every step.
"""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from workers.contract.spec import JobSpec
from workers.starter.tool_use.grpo_check import LONGEST_EPISODE_CALLS, TrainedDesk

spec = JobSpec.model_validate_json(Path(sys.argv[1]).read_text())
torch.set_num_threads(spec.resources.cpu_cores)
rows = [json.loads(line) for line in (Path(sys.argv[1]).parent / spec.dataset.train.path).open()]

trainer = GRPOTrainer(
    model=spec.base_model.path,
    train_dataset=Dataset.from_list([{"prompt": row["messages"], **row["item"]} for row in rows]),
    processing_class=AutoTokenizer.from_pretrained(spec.base_model.path),
    environment_factory=TrainedDesk,
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    args=GRPOConfig(
        output_dir=sys.argv[2],
        max_steps=spec.grpo.max_steps,
        per_device_train_batch_size=spec.grpo.group_size * spec.grpo.prompts_per_step,
        num_generations=spec.grpo.group_size,
        max_completion_length=spec.grpo.max_completion_length,
        max_tool_calling_iterations=LONGEST_EPISODE_CALLS,
        learning_rate=spec.grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=spec.grpo.warmup_steps,
        epsilon_high=spec.grpo.epsilon_high,
        save_steps=spec.grpo.checkpoint_every,
        logging_steps=1,
        seed=spec.seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
    ),
)
started = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - started
rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
print(json.dumps({"seconds": seconds, "rewards": rewards}))
