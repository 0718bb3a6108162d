"""The package: a PEFT adapter with model card, lineage and checksums."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData

from workers.contract.events import EvaluationEvent, Interval
from workers.contract.methods import METHODS
from workers.contract.spec import JobSpec
from workers.contract.statistics import FEWEST_ROWS
from workers.engine import errors
from workers.engine.base_model.models import Base, adapter_sha256, fold_adapter, weights_sha256
from workers.engine.base_model.targets import adapted_layers, describe_frozen
from workers.engine.base_model.tokenizer_files import write_tokenizer
from workers.engine.checkpoint import sha256_of
from workers.engine.packaging.verify import StoredRollout, Verdict
from workers.engine.sampling.batches import Sampler
from workers.engine.training.checkpointing import CheckpointingMixin

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "safetensors")
PROJECT = Path(__file__).parents[3]
VERIFIED_PROMPTS, VERIFIED_EACH = 4, 2  # prompts, and completions to each, that verify the adapter


@dataclass(frozen=True)
class Lineage:
    """Origin and evaluation of the adapter."""

    spec: JobSpec
    base: Base
    steps: int
    planned_steps: int
    train_seconds: float
    initial_sha256: str
    evaluation: EvaluationEvent


def build(
    lineage: Lineage, trainer: CheckpointingMixin, sampler: Sampler, out: Path, check_stop: Callable[[], None]
) -> Path:
    """Write ``out/package`` after a new process has reproduced the trainer's log-probabilities.

    Raises ``EngineError``, without a package, if the weights never changed or the reloaded adapter differs.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if adapter_sha256(model) == lineage.initial_sha256:
        raise errors.weights_unchanged()
    draft = out / ".package"
    shutil.rmtree(draft, ignore_errors=True)
    write_adapter(model, lineage.base, draft)
    stored = out / "verification.json"
    store_rollouts(trainer, sampler, lineage, stored)
    verdict = verify_in_new_process(draft, lineage.base.path, stored, check_stop)
    write_run_file(lineage, adapter_sha256(model), verdict, draft)
    (draft / "README.md").write_text(model_card(lineage))
    write_checksums(draft)
    final = out / "package"
    shutil.rmtree(final, ignore_errors=True)
    return draft.rename(final)


def write_adapter(model: Any, base: Base, folder: Path) -> None:
    """Write adapter and tokenizer files. The config names the base by id and revision, never by a path."""
    model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])
    write_tokenizer(base.tokenizer, base.path, folder)
    (folder / "adapter_model.safetensors").chmod(0o644)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config |= {"base_model_name_or_path": base.ref.id, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def store_rollouts(trainer: CheckpointingMixin, sampler: Sampler, lineage: Lineage, file: Path) -> None:
    """Store completions of the tuned model with the trainer's log-probabilities.

    The file is not part of the package, because it contains prompts of the training data.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    recorder = trainer.recorder
    rows = recorder.rows[:VERIFIED_PROMPTS]
    prompts = [recorder.renderer.encode(row.messages, row.tools) for row in rows]
    with fold_adapter(model):
        sampled = sampler(model.get_base_model(), prompts, VERIFIED_EACH, lineage.spec.seed)
    rollouts = [
        StoredRollout(prompt_ids=ids, completion_ids=each.ids, logprobs=trainer.logprobs(ids, each.ids))
        for ids, completions in zip(prompts, sampled, strict=True)
        for each in completions
    ]
    content = {
        "temperature": trainer.temperature,
        "dtype": str(lineage.base.model.dtype).removeprefix("torch."),
        "device": lineage.base.model.device.type,
        "rollouts": rollouts,
    }
    file.write_text(json.dumps(content))


def verify_in_new_process(
    package: Path, base_path: Path, stored: Path, check_stop: Callable[[], None]
) -> Verdict:
    """Run ``python -m workers.engine verify``. Raises ``EngineError`` unless the log-probabilities agree."""
    arguments = ["verify", str(package), "--base", str(base_path), "--rollouts", str(stored)]
    command = [sys.executable, "-m", "workers.engine", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            output, problems = _wait(process, check_stop)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise errors.package_not_reproduced(output[-2000:] + problems[-2000:])
    verdict: Verdict = json.loads(output.splitlines()[-1])
    return verdict


def _wait(process: subprocess.Popen[str], check_stop: Callable[[], None]) -> tuple[str, str]:
    """Return standard output and error of a process; ``check_stop`` may end the wait."""
    while True:
        try:
            return process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            check_stop()


def write_run_file(lineage: Lineage, adapter_hash: str, verdict: Verdict, folder: Path) -> None:
    """Write ``run.json``: all settings, data and versions behind the adapter, without local paths."""
    spec, base, initial = lineage.spec, lineage.base, lineage.spec.initial_adapter
    content = {
        "job_id": spec.job_id,
        "model_name": spec.model_name,
        "method": spec.method,
        "base_model": {
            "id": base.ref.id,
            "revision": base.revision,
            "weights_sha256": weights_sha256(base.path),
        },
        "dataset_sha256": spec.dataset.sha256,
        "split_sha256": {
            name: file.sha256
            for name in ("train", "validation", "test")
            if (file := getattr(spec.dataset, name)) is not None
        },
        "test_opened": spec.dataset.test_opened,
        "grader_sha256": spec.grader_sha256,
        "tasks": {
            name: {"grader_sha256": task.grader_sha256, "weight": task.weight}
            for name, task in spec.tasks.items()
        },
        "start": initial and {"id": initial.id, "sha256": initial.sha256},
        "seed": spec.seed,
        "template_arguments": dict(base.renderer.arguments),
        "settings": spec.model_dump(mode="json", include={"chat", "lora", "grpo", "evaluation"})
        | {"sft": spec.sft and spec.sft.model_dump(mode="json", exclude={"rows": {"path"}})},
        "labels": spec.labels,
        "steps": lineage.steps,
        "planned_steps": lineage.planned_steps,
        "promoted_from": spec.promoted_from and spec.promoted_from.model_dump(),
        "train_seconds": round(lineage.train_seconds, 1),
        "metrics": lineage.evaluation.model_dump(mode="json", exclude={"details", "time", "type"}),
        "adapter_sha256": {"initial": lineage.initial_sha256, "tuned": adapter_hash},
        "verification": verdict,
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in LIBRARIES}},
        "device": str(torch.device(spec.resources.device)),
        "dtype": str(base.model.dtype).removeprefix("torch."),
    }
    (folder / "run.json").write_text(json.dumps(content, indent=2) + "\n")


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all files, in the format of ``sha256sum --check``."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    (folder / "SHA256SUMS").write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in names))


def model_card(lineage: Lineage) -> str:
    """Return ``README.md`` with front matter, results and instructions."""
    spec, evaluation = lineage.spec, lineage.evaluation
    assert evaluation.tuned is not None
    assert evaluation.difference is not None
    front = ModelCardData(
        base_model=lineage.base.ref.id,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", *METHODS[spec.method].tags, "trl", "groove"],
        model_name=spec.model_name,
        eval_results=[
            _eval_result(lineage, "mean reward", evaluation.tuned.reward.mean),
            _eval_result(lineage, "pass@1", evaluation.tuned.pass_at_1.mean),
        ],
    )
    rows = [
        ("mean reward", evaluation.base.reward, evaluation.tuned.reward),
        ("pass@1", evaluation.base.pass_at_1, evaluation.tuned.pass_at_1),
    ]
    table = "\n".join(
        f"| {name} | {_format_interval(base)} | {_format_interval(tuned)} |" for name, base, tuned in rows
    )
    return CARD.format(
        front=front.to_yaml(),
        name=spec.model_name,
        base=lineage.base.ref.id,
        revision=f", revision `{lineage.base.revision}`" if lineage.base.revision else "",
        revision_argument=f', revision="{lineage.base.revision}"' if lineage.base.revision else "",
        steps=lineage.steps,
        origin=_describe_origin(lineage),
        frozen=_describe_frozen_part(lineage.base),
        method=METHODS[spec.method].description,
        compared="initial adapter" if spec.initial_adapter else "base",
        rank=spec.lora.rank,
        alpha=spec.lora.alpha,
        split=evaluation.split,
        rows=evaluation.rows,
        samples=evaluation.samples_per_row,
        temperature=spec.grpo.temperature,
        confidence=round(100 * spec.evaluation.confidence),
        table=table,
        difference=_format_interval(evaluation.difference),
        opened=_describe_opening(spec),
        dataset=spec.dataset.sha256,
        grader=spec.grader_sha256,
    )


def _describe_opening(spec: JobSpec) -> str:
    """Return a paragraph on a test split that was opened; empty if it was sealed."""
    date = spec.dataset.test_opened
    return f"\n\nThe test split was opened on {date}, before this job: its rows were known." if date else ""


def _describe_origin(lineage: Lineage) -> str:
    """Return sentences about a promotion, an early end, an initial adapter and several tasks."""
    spec, text = lineage.spec, ""
    if spec.promoted_from:
        text += f" It is the checkpoint after step {lineage.steps} of job `{spec.promoted_from.job_id}`."
    if lineage.steps < lineage.planned_steps:
        text += f" {lineage.planned_steps} steps were planned."
    if spec.initial_adapter:
        text += f" It continues the adapter `{spec.initial_adapter.id}` and is compared with it."
    if len(spec.tasks) > 1:
        tasks = ", ".join(f"{name} (weight {task.weight:g})" for name, task in spec.tasks.items())
        text += f" Several tasks share it: {tasks}."
    return text


def _describe_frozen_part(base: Base) -> str:
    """Return a paragraph on the frozen part of a mixture of experts; empty for a dense model."""
    text = describe_frozen(base.model, adapted_layers(base.model))
    return f"\n\n{text}" if text else ""


def _eval_result(lineage: Lineage, name: str, value: float) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type="private",
        dataset_name=f"held-out rows of dataset {lineage.spec.dataset.sha256[:12]}",
        dataset_split=lineage.evaluation.split,
        metric_type=name.replace(" ", "_"),
        metric_name=name,
        metric_value=round(value, 4),
    )


def _format_interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f} (no interval: fewer than {FEWEST_ROWS} rows)"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


CARD = """---
{front}
---

# {name}

A LoRA adapter (rank {rank}, alpha {alpha}) for `{base}`{revision}, tuned with {method}
for {steps} steps.{origin}{frozen}

## Measured

On {rows} held-out rows ({split} split), {samples} completions per row at temperature {temperature},
{compared} and tuned on the same prompts under the same grader; {confidence} % bootstrap intervals over rows.

| | {compared} | tuned |
|---|---|---|
{table}

Paired difference in mean reward: {difference}.{opened}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

adapter = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(adapter)
base = AutoModelForCausalLM.from_pretrained("{base}"{revision_argument})
model = PeftModel.from_pretrained(base, adapter)
```

If the base is not on a hub, give `from_pretrained` the folder that holds it.

## Lineage

Dataset sha256 `{dataset}`, grader sha256 `{grader}`. Settings, seed, versions and all metrics are in
`run.json`, checksums in `SHA256SUMS`.
"""
