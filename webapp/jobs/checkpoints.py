"""A job's checkpoints: listed with what was measured there, kept, discarded, downloaded as an adapter."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from zipstream import ZipStream

from webapp.jobs.models import Checkpoint, Evaluation, Job
from workers.contract import adapter

KEEP = 3
CHUNK_BYTES = 2**18
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
# A checkpoint also holds the states of optimizer and random generators, which loading an adapter needs not.
ADAPTER_FILES = re.compile(
    r"adapter_(config\.json|model\.safetensors)|tokenizer.*|special_tokens_map\.json|added_tokens\.json"
    r"|chat_template.*|vocab\..*|merges\.txt|.*\.model|.*\.tiktoken|tekken\.json"
)
README = """# {job}, step {step}

The adapter of job `{uid}` after step {step} of {total}, for `{base}`.
It is as training left it: nobody has evaluated it on the test rows or checked that it loads elsewhere.
Promote the checkpoint to a model for both.
"""


class CheckpointUnusable(ValueError):
    """The stored archive is missing or torn; the message says so."""


@dataclass(frozen=True)
class CheckpointRow:
    """A checkpoint and what was measured at its step: mean rewards of training and on validation rows."""

    checkpoint: Checkpoint
    reward: float | None
    validation: float | None
    best: bool


def list_checkpoints(job: Job, evaluations: Iterable[Evaluation]) -> list[CheckpointRow]:
    """The job's checkpoints, the newest first. ``best`` marks the highest validation reward of several."""
    kept = list(job.checkpoints.all())
    steps = [each.step for each in kept]
    metrics = job.metrics.filter(step__in=steps).values_list("step", "values__reward")
    rewards, validation = dict(metrics), validation_rewards(evaluations)
    best = max((step for step in steps if step in validation), key=validation.__getitem__, default=None)
    several = len(validation.keys() & set(steps)) > 1
    return [
        CheckpointRow(each, rewards.get(each.step), validation.get(each.step), several and each.step == best)
        for each in kept
    ]


def validation_rewards(evaluations: Iterable[Evaluation]) -> dict[int, float]:
    """Step -> the tuned model's mean reward on all validation rows, where it was measured in training."""
    during = [each for each in evaluations if each.stage == "during" and each.split == "validation"]
    return {each.step: each.tuned["reward"]["mean"] for each in during if each.tuned and not each.task}


# --- keeping ---------------------------------------------------------------------------------------


def discard_old(job: Job) -> None:
    """Keep the newest few and the best on validation rows; the rest leave table and storage."""
    steps = list(job.checkpoints.order_by("-step").values_list("step", flat=True))
    validation = validation_rewards(job.evaluations.all())
    best = max((step for step in steps if step in validation), key=validation.__getitem__, default=None)
    with transaction.atomic():
        remove(job.checkpoints.filter(step__in=[step for step in steps[KEEP:] if step != best]))


def remove(checkpoints: Any) -> None:
    """Delete rows, and on commit the archives that no other row names. Call it in a transaction."""
    keys = list(checkpoints.values_list("key", flat=True))
    checkpoints.delete()
    drop_archives(keys)


def drop_archives(keys: Iterable[str]) -> None:
    """On commit, delete the archives that no row names any more: a promotion shares its source's."""
    for key in keys:
        transaction.on_commit(partial(_drop, key))


def _drop(key: str) -> None:
    if not Checkpoint.objects.filter(key=key).exists():
        default_storage.delete(key)


# --- the adapter -----------------------------------------------------------------------------------


def folder_name(checkpoint: Checkpoint) -> str:
    """The downloaded archive's only folder; safe on every file system."""
    return f"{checkpoint.job.uid}-step-{checkpoint.step}"


def adapter_archive(checkpoint: Checkpoint) -> ZipStream:
    """The adapter as a PEFT folder in a zip archive. Raises ``CheckpointUnusable``."""
    try:
        with default_storage.open(checkpoint.key) as file, tarfile.open(fileobj=file) as tar:
            return _packed(checkpoint, tar)
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise CheckpointUnusable(
            f"The stored checkpoint of step {checkpoint.step} is missing or damaged. Use another one."
        ) from error


def _packed(checkpoint: Checkpoint, tar: tarfile.TarFile) -> ZipStream:
    hashes: dict[str, str] = json.loads(_read(tar, MANIFEST))["files"]
    members = {each.name.removeprefix("./"): each for each in tar.getmembers() if each.isfile()}
    whole = [name for name in sorted(members) if ADAPTER_FILES.fullmatch(name) and name != adapter.CONFIG]
    if adapter.WEIGHTS not in whole:
        raise KeyError(adapter.WEIGHTS)
    made = {adapter.CONFIG: _config(checkpoint, tar), "README.md": _readme(checkpoint)}
    sums = {name: hashes[name] for name in whole} | {
        name: hashlib.sha256(content).hexdigest() for name, content in made.items()
    }
    made[CHECKSUMS] = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())).encode()
    folder, packed = folder_name(checkpoint), ZipStream(sized=True)
    for name in whole:
        packed.add(_blocks(checkpoint.key, name), arcname=f"{folder}/{name}", size=members[name].size)
    for name, content in made.items():
        packed.add(content, arcname=f"{folder}/{name}")
    return packed


def _config(checkpoint: Checkpoint, tar: tarfile.TarFile) -> bytes:
    """PEFT's config with the base model's public id where training wrote a worker's path."""
    base = checkpoint.job.base_model
    config = json.loads(_read(tar, adapter.CONFIG))
    config |= {"base_model_name_or_path": base.model_id, "revision": base.revision or None}
    config["inference_mode"] = True
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _readme(checkpoint: Checkpoint) -> bytes:
    job = checkpoint.job
    return README.format(
        job=job.name, step=checkpoint.step, uid=job.uid, total=job.total_steps, base=job.base_model.model_id
    ).encode()


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(f"./{name}")
    if member is None:
        raise KeyError(name)
    return member.read()


def _blocks(key: str, name: str) -> Iterator[bytes]:
    with default_storage.open(key) as file, tarfile.open(fileobj=file) as tar:
        member = tar.extractfile(f"./{name}")
        assert member, f"{name} was a file when the archive was listed"
        while block := member.read(CHUNK_BYTES):
            yield block
