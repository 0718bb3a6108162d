"""Training by GRPO: TRL is configured from the spec. The placebo trains the same way on permuted rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PrinterCallback
from transformers.pytorch_utils import Conv1D
from trl import GRPOConfig

from workers.contract.events import LogEvent
from workers.contract.memory import Work
from workers.contract.spec import JobSpec
from workers.engine import errors, parallel
from workers.engine.base_model.initial_adapter import keep_reference
from workers.engine.base_model.models import Base
from workers.engine.base_model.targets import choose_layers
from workers.engine.fast import shared_prefix
from workers.engine.fast.architecture import is_known
from workers.engine.memory import MemoryPlan
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling import backends
from workers.engine.training.alarms import SilentAlarms
from workers.engine.training.interface import TrainContext, TrainingMethod
from workers.engine.training.rollouts.recorder import Recorder
from workers.engine.training.task_balance import Balance
from workers.engine.training.trainer import MeasuringTrainer
from workers.grading import GradeAnswers

SHARED = "Each prompt is computed once a group: in sampling, in the loss and in the backward pass."
PLAIN = (
    "Every rollout computes its prompt anew, as plain TRL does: the architecture {} is not among those whose "
    "prompts can be shared, or the adapter has dropout."
)
SHRUNK = "Memory ran out: the step is done again in passes of at most {} tokens."


def shares_prompts(spec: JobSpec, base: Base) -> bool:
    """Return True if a prompt is computed once per group.

    With dropout that would be wrong: each copy of the prompt has noise of its own.
    """
    return is_known(base.model) and spec.lora.dropout == 0


def grpo_config(
    spec: JobSpec, out: Path, steps: int, plan: MemoryPlan, sampling: backends.Backend
) -> GRPOConfig:
    """Return TRL's config of the job. It sets every default of TRL that does not suit all machines."""
    grpo = spec.grpo
    return GRPOConfig(
        output_dir=str(out / "checkpoints" / ".unsealed"),
        max_steps=steps,
        # A step is one batch for TRL; the trainer divides it into passes that keep groups whole.
        per_device_train_batch_size=spec.grpo.rollouts_per_step // parallel.size(),
        gradient_accumulation_steps=1,
        gradient_checkpointing=plan.gradient_checkpointing,
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_completion_length,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=grpo.warmup_steps,
        max_grad_norm=grpo.max_grad_norm,
        beta=grpo.beta,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        epsilon=grpo.epsilon,
        epsilon_high=grpo.epsilon_high,
        mask_truncated_completions=grpo.mask_truncated_completions,
        router_aux_loss_coef=0.0,  # routers are frozen: the adapter must not learn to balance them
        seed=spec.seed,
        # The weights already have the device's precision, in trainer and sampler: no autocast on top.
        bf16=False,
        use_cpu=spec.resources.device == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        ddp_timeout=parallel.PATIENCE,
        report_to=[],
        disable_tqdm=True,
        **sampling.options,
    )


def lora_config(spec: JobSpec, model: PreTrainedModel) -> LoraConfig:
    """Return PEFT's config of a fresh adapter. Raises ``EngineError`` if the targets cannot be adapted."""
    lora, names = spec.lora, choose_layers(model, spec.lora)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(names),
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in names),
        task_type="CAUSAL_LM",
    )


def prompt_dataset(rows: list[Row], renderer: Renderer) -> Dataset:
    """Return the rows as TRL reads them.

    The prompts are rendered here, since TRL would apply the chat template without tools and rewrites.
    """

    def look_up(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        prompts = [renderer.render(rows[i].messages, rows[i].tools) for i in batch["row"]]
        return {"prompt": prompts, "row": batch["row"]}

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(look_up)


class Rft(TrainingMethod):
    """Reinforcement fine-tuning on the job's grader."""

    def count_steps(self, rows: int) -> int:
        """Raises ``EngineError`` if the rows do not fill one step."""
        grpo = self.spec.grpo
        per_epoch = rows // grpo.prompts_per_step
        if per_epoch == 0:
            raise errors.too_few_rows(rows, grpo.prompts_per_step)
        return grpo.max_steps or per_epoch * grpo.epochs

    def describe_work(self, longest_prompt: int) -> Work:
        grpo = self.spec.grpo
        own = grpo.rollouts_per_step // parallel.size()
        return Work(longest_prompt, grpo.max_completion_length, own, grpo.group_size)

    def build_trainer(self, context: TrainContext) -> MeasuringTrainer:
        """Equal specs give equal initial weights."""
        spec, base, rows = self.spec, context.base, context.recorder.rows
        shares = shares_prompts(spec, base)
        if shares:
            shared_prefix.prepare(base.model)
        context.emit(LogEvent(message=SHARED if shares else PLAIN.format(base.model.config.model_type)))
        sampling = backends.choose_backend(base.model.device.type, shares)
        context.emit(LogEvent(message=sampling.message))

        def report_shrunk(tokens: int) -> None:
            context.emit(LogEvent(level="warning", message=SHRUNK.format(tokens)))

        initial = context.initial_adapter
        trainer = MeasuringTrainer(
            model=initial or base.model,
            args=grpo_config(spec, context.out, context.steps, context.plan, sampling),
            train_dataset=prompt_dataset(rows, base.renderer),
            processing_class=base.tokenizer,
            peft_config=None if initial else lora_config(spec, base.model),
            recorder=context.recorder,
            plan=context.plan,
            shares=shares,
            report_shrunk=report_shrunk,
            check_stop=context.check_stop,
            balance=Balance.create(spec, rows),
            player=context.player,
        )
        if initial:
            keep_reference(initial)
        trainer.remove_callback(PrinterCallback)
        return trainer


class Placebo(Rft):
    """Control run: GRPO on the job's own rewards, permuted among the completions."""

    alarms = SilentAlarms

    def build_recorder(self, rows: list[Row], grade: GradeAnswers, base: Base) -> Recorder:
        return Recorder(rows, grade, base.renderer, base.eos_ids, placebo_seed=self.spec.seed)
