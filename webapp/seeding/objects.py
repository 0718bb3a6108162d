"""Datasets, graders, jobs and models: everything but the millions of rows."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import F
from django.utils import timezone

from webapp.core.episodes.records import EpisodePairs, count_episodes
from webapp.datasets.files.version_files import create_split_files
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.graders.models import Grader, GraderVersion
from webapp.home.sample_project import create_sample_project
from webapp.jobs.evaluations import build_row
from webapp.jobs.launch.service import check_settings
from webapp.jobs.models import (
    Alarm,
    Checkpoint,
    ComparedRow,
    Evaluation,
    Job,
    JobSuite,
    SavedView,
    SuiteScore,
)
from webapp.jobs.states import State
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import build_tuned_name, ensure_starter_model
from webapp.seeding import made_up_episodes
from webapp.seeding.made_up_text import Prompt, prompts
from webapp.teams.models import AuditEvent, Team, User
from webapp.work import nodes
from workers.contract.devices import NodeDevices
from workers.contract.environments import EpisodeRecord
from workers.contract.events import EvaluationRow, EvaluationSample

BATCH = 1000
JOBS_A_DATASET = 40
VERSIONS = 3
DETAILED = 20
SAMPLES = 4
ROWS_TO_EPISODES = 10
STATES = [State.SUCCEEDED] * 17 + [State.FAILED, State.CANCELLED, State.PAUSED]
ERROR = {
    "code": "out_of_memory",
    "message": "Sampling needed more memory than the device has.",
    "remedy": "Take fewer answers a prompt, or shorter ones.",
}


def make(team: Team, user: User, count: int, longest: int, usual: int) -> list[Job]:
    """Everything that ``count`` jobs need and leave behind; the last one is the newest."""
    versions, graders = _datasets(team, user, count), _graders(team, user, count)
    base = ensure_starter_model()
    nodes.register_node("gpu-a", {"groove": "seeded"}, NodeDevices(cpu_cores=16), {"available": True})
    jobs = _jobs(team, user, base, versions, graders, [usual] * (count - 1) + [longest])
    done = [job for job in jobs if job.state == State.SUCCEEDED]
    _evaluations(done)
    _remains(jobs)
    _kept_by_the_team(team, user, jobs)
    return jobs


def _datasets(team: Team, user: User, jobs: int) -> list[DatasetVersion]:
    """Datasets with the sample's rows under other names."""
    sample = create_sample_project(team, user)[0].versions.get()
    made = Dataset.objects.bulk_create(
        Dataset(team=team, name=f"Invoices of week {number}", created_by=user)
        for number in range(1, 2 + jobs // JOBS_A_DATASET)
    )
    same = {"sha256": sample.sha256, "files": sample.files, "rows": sample.rows, "report": sample.report,
            "filename": sample.filename, "created_by": user}  # fmt: skip
    numbers = range(1, VERSIONS + 1)
    versions = DatasetVersion.objects.bulk_create(
        DatasetVersion(dataset=dataset, number=number, **same) for dataset in made for number in numbers
    )
    for version in versions:
        create_split_files(version)
    return versions


def _graders(team: Team, user: User, jobs: int) -> list[GraderVersion]:
    sample = create_sample_project(team, user)[1].versions.get()
    made = Grader.objects.bulk_create(
        Grader(team=team, name=f"Share of right fields {number}", created_by=user)
        for number in range(1, 2 + jobs // JOBS_A_DATASET)
    )
    same = {"definition": sample.definition, "sha256": sample.sha256, "created_by": user}
    numbers = range(1, VERSIONS + 1)
    return GraderVersion.objects.bulk_create(
        GraderVersion(grader=grader, number=number, **same) for grader in made for number in numbers
    )


# --- jobs and their models -------------------------------------------------------------------------


def _jobs(
    team: Team, user: User, base: BaseModel, versions: Sequence[DatasetVersion],
    graders: Sequence[GraderVersion], steps: Sequence[int],
) -> list[Job]:  # fmt: skip
    states = [STATES[place % len(STATES)] for place in range(len(steps) - 1)] + [State.SUCCEEDED]
    settings, now = check_settings(base.settings), timezone.now()
    models = _models(team, base, states)
    jobs = []
    for place, (state, taken) in enumerate(zip(states, steps, strict=True)):
        ended = now - timedelta(minutes=15 * (len(steps) - place))
        jobs.append(Job(
            team=team, name=f"Invoices {place + 1}", created_by=user, base_model=base,
            model_name=build_tuned_name(base, team, "Invoices"),
            dataset_version=versions[place % len(versions)], grader_version=graders[place % len(graders)],
            settings=settings.model_copy(update={"seed": place % 7}), state=state,
            step=taken, total_steps=taken,
            phase="train" if state == State.PAUSED else "", attempt=1,
            error=ERROR if state == State.FAILED else None, queued_at=ended - timedelta(minutes=14),
            started_at=ended - timedelta(minutes=13), finished_at=None if state == State.PAUSED else ended,
            train_seconds=660.0, tuned_model=models[place],
        ))  # fmt: skip
    made = Job.objects.bulk_create(jobs, BATCH)
    team.jobs.update(created_at=F("queued_at"))
    return made


def _models(team: Team, base: BaseModel, states: Sequence[State]) -> list[TunedModel | None]:
    """A model for each job that succeeded; all share the files of one empty adapter."""
    prefix = f"teams/{team.pk}/models/seeded"
    files = _adapter_files(prefix, base)
    made = iter(TunedModel.objects.bulk_create(
        (TunedModel(team=team, base_model=base, name=build_tuned_name(base, team, "Invoices"), prefix=prefix,
                    files=files) for state in states if state == State.SUCCEEDED), BATCH,
    ))  # fmt: skip
    return [next(made) if state == State.SUCCEEDED else None for state in states]


def _adapter_files(prefix: str, base: BaseModel) -> list[dict[str, Any]]:
    config = {"peft_type": "LORA", "base_model_name_or_path": base.model_id, "r": 4, "lora_alpha": 8,
              "target_modules": ["q_proj"], "bias": "none"}  # fmt: skip
    contents = {
        "adapter_config.json": json.dumps(config, indent=2).encode(),
        "adapter_model.safetensors": _zeros(),
        "README.md": b"# A seeded adapter\n\nAll zeros: it changes nothing.\n",
    }
    files = []
    for name, content in contents.items():
        if not default_storage.exists(f"{prefix}/{name}"):
            default_storage.save(f"{prefix}/{name}", ContentFile(content))
        files.append({"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    return files


def _zeros(rank: int = 4, width: int = 64) -> bytes:
    """A safetensors file: one LoRA pair that adds nothing."""
    place, size = "base_model.model.model.layers.0.self_attn.q_proj", 4 * rank * width
    header = {
        f"{place}.lora_A.weight": {"dtype": "F32", "shape": [rank, width], "data_offsets": [0, size]},
        f"{place}.lora_B.weight": {"dtype": "F32", "shape": [width, rank], "data_offsets": [size, 2 * size]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(2 * size)


# --- evaluations -----------------------------------------------------------------------------------


def _interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.03, "high": mean + 0.03}


def _side(reward: float) -> dict[str, Any]:
    return {
        "reward": _interval(reward), "pass_at_1": _interval(reward - 0.05),
        "pass_at_k": {"1": reward - 0.05, "4": reward + 0.02}, "mean_length": 48.0, "truncated_share": 0.01,
        "grading_error_share": 0.0,
    }  # fmt: skip


def _evaluations(jobs: Sequence[Job]) -> None:
    """Before and after of every job; the newest have the answers, the very newest the most."""
    random, made = Random(3), list[Evaluation]()  # noqa: S311 -- made-up rows
    for job in jobs:
        base, tuned = 0.2 + random.random() / 10, 0.85 + random.random() / 10
        same = {"job": job, "samples_per_row": SAMPLES, "rows": 120, "base": _side(base)}
        made.append(Evaluation(**same, stage="before", split="validation", step=0))
        made += (
            Evaluation(
                **same, stage="during", split="validation", step=job.step * part // 5,
                tuned=_side(base + (tuned - base) * part / 5),
            )
            for part in range(1, 5)
            if job.step >= 5
        )  # fmt: skip
        made.append(Evaluation(
            **same, stage="after", split="test", step=job.step, tuned=_side(tuned),
            difference=_interval(tuned - base), wins=90, ties=22, losses=8, episodes=_count_pairs(),
        ))  # fmt: skip
    evaluations = Evaluation.objects.bulk_create(made, BATCH)
    after = [evaluation for evaluation in evaluations if evaluation.stage == "after"]
    ComparedRow.objects.bulk_create(
        (row for evaluation in after[-DETAILED:] for row in compared_rows(evaluation, 0, 120)), BATCH
    )


def compared_rows(evaluation: Evaluation, first: int, count: int) -> list[ComparedRow]:
    """Rows of the sample with the answers of both sides; every tenth is an episode."""
    return [
        _compared_episodes(evaluation, index)
        if index % ROWS_TO_EPISODES == 0
        else _compared(evaluation, index, prompts()[index % 1200])
        for index in range(first, first + count)
    ]


def _compared_episodes(evaluation: Evaluation, index: int) -> ComparedRow:
    base, tuned = made_up_episodes.play(right=False), made_up_episodes.play(right=True)
    return build_row(
        evaluation,
        index,
        EvaluationRow(
            row_id=f"desk-{index}",
            prompt=made_up_episodes.PROMPT,
            messages=[{"role": "user", "content": made_up_episodes.PROMPT}],
            base=[_play_sample(base)] * SAMPLES,
            tuned=[_play_sample(tuned)] * SAMPLES,
            base_right=0,
            tuned_right=SAMPLES,
        ),
    )


def _play_sample(episode: EpisodeRecord) -> EvaluationSample:
    return EvaluationSample(
        completion=episode.transcript(), reward=episode.reward, sub_rewards={"environment": episode.reward},
        length=sum(turn.tokens for turn in episode.turns), truncated=False, episode=episode,
    )  # fmt: skip


def _count_pairs() -> EpisodePairs:
    base, tuned = made_up_episodes.play(right=False), made_up_episodes.play(right=True)
    return EpisodePairs(
        base=count_episodes([base]),
        tuned=count_episodes([tuned]),
        same=0,
        parted={1: 120 // ROWS_TO_EPISODES},
    )


def _compared(evaluation: Evaluation, index: int, prompt: Prompt) -> ComparedRow:
    better = 0.0 if index % 6 == 0 else 0.45
    base = [_sample(prompt.near, 0.55)] * SAMPLES
    tuned = [_sample(prompt.right, 1.0) if better else _sample(prompt.near, 0.55)] * SAMPLES
    return ComparedRow(
        evaluation=evaluation, index=index, row_id=prompt.row_id, prompt=prompt.text, base=base, tuned=tuned,
        row={
            "messages": [{"role": "user", "content": prompt.text}],
            "item": {"reference": json.loads(prompt.right)},
        },
        base_reward=0.55, tuned_reward=0.55 + better, change=better, base_right=0,
        tuned_right=SAMPLES if better else 0,
    )  # fmt: skip


def _sample(text: str, reward: float) -> dict[str, Any]:
    return {
        "completion": text, "reward": reward, "sub_rewards": {"fields": reward}, "error_class": None,
        "error_detail": "", "explanation": "", "length": len(text) // 2, "truncated": False,
    }  # fmt: skip


# --- what jobs leave behind ------------------------------------------------------------------------


def _remains(jobs: Sequence[Job]) -> None:
    """Checkpoints, an alarm in every tenth, and a suite with its scores."""
    Checkpoint.objects.bulk_create(
        (Checkpoint(job=job, step=step, attempt=1, key=f"jobs/{job.uid}/{step}", bytes=7_340_032, sha256="0")
         for job in jobs for step in {max(job.step // 2, 1), job.step}), BATCH,
    )  # fmt: skip
    Alarm.objects.bulk_create(alarm(job, max(job.step // 2, 1)) for job in jobs[::10])
    JobSuite.objects.bulk_create(
        (JobSuite(job=job, position=0, name="Arithmetic", built_in="arithmetic", max_loss=0.05)
         for job in jobs), BATCH,
    )  # fmt: skip
    SuiteScore.objects.bulk_create(
        (SuiteScore(
            job=job, suite="Arithmetic", stage=stage, step=step, rows=40, samples_per_row=1,
            base=_interval(0.4), tuned=_interval(0.39) if step else None,
            forgetting=_interval(0.01) if step else None,
        ) for job in jobs for stage, step in (("before", 0), ("after", job.step))), BATCH,
    )  # fmt: skip


def alarm(job: Job, step: int) -> Alarm:
    """A rule that fired at a step."""
    return Alarm(
        job=job, step=step, code="length_drift", message="Answers grow while the reward does not.",
        threshold="Mean length above 1.5 times the first steps'.", evidence={"mean length": 92.0},
        remedy="Look at the longest answers; lower the limit of tokens.", rollouts=[0],
    )  # fmt: skip


def _kept_by_the_team(team: Team, user: User, jobs: Sequence[Job]) -> None:
    AuditEvent.objects.bulk_create(
        (AuditEvent(team=team, user=user, verb="launched job", target=job.name) for job in jobs), BATCH
    )
    SavedView.objects.bulk_create(
        (SavedView(team=team, name=f"Cut off {number}", query="only=truncated", created_by=user)
         for number in range(1 + len(jobs) // 500)), ignore_conflicts=True,
    )  # fmt: skip
