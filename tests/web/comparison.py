"""A finished job with its comparison and its model, kept by the same services that workers call."""

from __future__ import annotations

import hashlib
from statistics import fmean
from typing import Literal

from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import StreamingHttpResponse
from django.urls import reverse

from webapp.home.sample_project import create_sample_project
from webapp.jobs.evaluations import record_evaluation
from webapp.jobs.models import Evaluation, Job
from webapp.jobs.services import checked_settings
from webapp.jobs.states import State
from webapp.registry.models import TunedModel
from webapp.registry.services import ensure_starter_model, register_model
from webapp.teams.models import Team, User
from workers.contract.events import EvaluationEvent, EvaluationRow, EvaluationSample, Interval, SideSummary
from workers.engine.evaluation.comparison import compared, graded, pairs_of, right
from workers.engine.evaluation.statistics import Resampling

WEIGHTS = "adapter_model.safetensors"
FILES = {
    "adapter_config.json": b'{"r": 16}\n',
    WEIGHTS: bytes(range(256)) * 3000,
    "README.md": b"# A model\n",
}


def finished_job(team: Team, user: User, name: str = "Invoices") -> Job:
    """A job of the sample project that has succeeded, without a model or a comparison yet."""
    dataset, grader = create_sample_project(team, user)
    base = ensure_starter_model()
    return Job.objects.create(
        team=team, name=name, base_model=base, dataset_version=dataset.versions.get(),
        grader_version=grader.versions.get(), settings=checked_settings(base.settings | {"seed": 7}),
        state=State.SUCCEEDED, step=60, total_steps=60,
    )  # fmt: skip


def sample(reward: float | None, completion: str) -> EvaluationSample:
    return EvaluationSample(
        completion=completion, reward=reward, sub_rewards={"format": 1.0, "value": reward},
        error_class=None if reward is not None else "python_grader_runtime_error",
        error_detail=None if reward is not None else "ZeroDivisionError in grade, line 2",
        length=len(completion), truncated=False,
    )  # fmt: skip


def row(row_id: str, base: list[EvaluationSample], tuned: list[EvaluationSample]) -> EvaluationRow:
    return EvaluationRow(
        row_id=row_id, prompt=f"What is in invoice {row_id}?", base=base, tuned=tuned,
        base_right=right(base, 0.999) if graded(base) else None,
        tuned_right=right(tuned, 0.999) if graded(tuned) else None,
    )  # fmt: skip


def interval(values: list[float], width: float = 0.05) -> Interval:
    mean = fmean(values)
    return Interval(mean=mean, low=mean - width, high=mean + width)


def _arm(samples: list[EvaluationSample]) -> SideSummary:
    rewards = [each.reward for each in samples if each.reward is not None]
    return SideSummary(
        reward=interval(rewards),
        pass_at_1=interval(rewards),
        pass_at_k={"1": fmean(rewards), "2": 0.975, "8": 1.0},
        mean_length=fmean(each.length for each in samples),
        truncated_share=0.0,
        grading_error_share=1 - len(rewards) / len(samples),
    )


def compare(
    job: Job,
    rows: list[EvaluationRow],
    stage: Literal["during", "after"] = "after",
    split: Literal["validation", "test"] = "test",
) -> Evaluation:
    """Keep a comparison of these rows; difference, wins and losses are of the first answers."""
    pairs = [(each.base[0].reward, each.tuned[0].reward) for each in rows]
    changes = [after - before for before, after in pairs if before is not None and after is not None]
    event = EvaluationEvent(
        stage=stage,
        split=split,
        step=job.step,
        rows=len(rows),
        samples_per_row=len(rows[0].base),
        base=_arm([answer for each in rows for answer in each.base]),
        tuned=_arm([answer for each in rows for answer in each.tuned]),
        difference=interval(changes),
        wins=sum(change > 0 for change in changes),
        ties=sum(change == 0 for change in changes),
        losses=sum(change < 0 for change in changes),
        comparison=compared(
            pairs_of([each.base for each in rows], [each.tuned for each in rows], 0.999),
            Resampling(0.95, 200, 1),
        ),
        details=rows,
    )
    return record_evaluation(job, event)


def tuned_model(job: Job, name: str = "ft:groove/starter:acme:invoices:Ab3dE6gh") -> TunedModel:
    """The job's model, its files in storage."""
    prefix = f"jobs/{job.uid}/adapter-1"
    listed = []
    for file, content in FILES.items():
        default_storage.save(f"{prefix}/{file}", ContentFile(content))
        listed.append({"name": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    model = register_model(job.team, job.base_model, name, prefix, listed)
    job.tuned_model = model
    job.save(update_fields=["tuned_model"])
    return model


def address(model: TunedModel, name: str, *arguments: str) -> str:
    """Of one of the model's pages."""
    return reverse(f"catalog:{name}", args=[model.team.slug, model.uid, *arguments])


def body(answer: StreamingHttpResponse) -> bytes:
    """What the browser gets, read as the ASGI server reads it."""

    async def read() -> bytes:
        return b"".join([part async for part in answer])

    return async_to_sync(read)()
