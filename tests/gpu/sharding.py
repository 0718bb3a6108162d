"""Item 8: plain TRL with FSDP2 and NCCL, one process. Groove itself shards nothing yet.

On a CPU the group is gloo's. accelerate does not shard there by default, so it is configured to.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
from accelerate import state
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from trl import GRPOConfig, GRPOTrainer

from tests.bench.jobs import STARTER
from tests.gpu.report import Context

CLOSE = 1e-3
STEPS, SAVED = 4, 2


def check(context: Context) -> None:
    """Train, save, resume from the middle, and compare the adapters."""
    join_group()
    if context.small:
        shard_on_cpu()
    whole = make_trainer(context, "whole")
    whole.train()
    sharded = [each for each in whole.model_wrapped.parameters() if isinstance(each, DTensor)]
    trainable = [each for each in whole.model_wrapped.parameters() if each.requires_grad]
    context.measure(backend=torch.distributed.get_backend(), sharded=len(sharded), trainable=len(trainable))
    context.require("Parameters are sharded.", len(sharded) > len(trainable) > 0)
    context.require("The adapter is sharded.", all(isinstance(each, DTensor) for each in trainable))
    middle = context.folder / "whole" / f"checkpoint-{SAVED}"
    make_trainer(context, "rest").train(resume_from_checkpoint=str(middle))
    expected, found = (read_adapter(context.folder / name) for name in ("whole", "rest"))
    difference = float((found - expected).norm() / expected.norm())
    context.measure(difference=difference)
    context.require(f"The resumed adapter agrees within {CLOSE:g}.", difference <= CLOSE)
    torch.distributed.destroy_process_group()


def join_group() -> None:
    """Set what ``torchrun`` would: one process, and FSDP2."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
    }


def shard_on_cpu() -> None:
    """Make accelerate take the CPU's group for one of GPUs: it shards nothing else."""
    original = state.AcceleratorState.__init__

    def initialize(self: state.AcceleratorState, *args: object, **kwargs: object) -> None:
        if not state.AcceleratorState._shared_state:
            state.PartialState(cpu=True)
            state.PartialState._shared_state["distributed_type"] = state.DistributedType.MULTI_GPU
            kwargs["cpu"] = True
        original(self, *args, **kwargs)

    state.AcceleratorState.__init__ = initialize


def make_trainer(context: Context, name: str) -> GRPOTrainer:
    """TRL's trainer on the starter model, in float32 so that adapters can be compared."""
    prompts = [[{"role": "user", "content": f"Say {number}."}] for number in range(8)]
    return GRPOTrainer(
        model=str(STARTER / "model"),
        reward_funcs=lambda completions, **_: [index % 3 / 3 for index, _ in enumerate(completions)],
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=GRPOConfig(
            output_dir=str(context.folder / name),
            max_steps=STEPS,
            save_steps=SAVED,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=context.sized(32, 6),
            learning_rate=1e-3,
            fsdp=True,
            fsdp_config={
                "version": 2,
                "transformer_layer_cls_to_wrap": ["Qwen3DecoderLayer"],
                "state_dict_type": "FULL_STATE_DICT",
            },
            model_init_kwargs={"dtype": "float32"},
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=context.small,
            report_to=[],
            disable_tqdm=True,
        ),
    )


def read_adapter(out: Path) -> torch.Tensor:
    """The adapter of the last checkpoint, in one vector."""
    tensors = load_file(out / f"checkpoint-{STEPS}" / "adapter_model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])
