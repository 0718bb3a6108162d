"""A job's checkpoints: list with results, deletion of old ones, download of the adapter."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet
from zipstream import ZipStream

from webapp.jobs.models import Checkpoint, Evaluation, Job
from workers.contract import adapter

KEPT_BEST = 3
KEPT = KEPT_BEST + 1
CHUNK_BYTES = 2**18
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
# A checkpoint also has the states of optimizer and random generators, which an adapter does not need.
ADAPTER_FILES = re.compile(
    r"adapter_(config\.json|model\.safetensors)|tokenizer.*|special_tokens_map\.json|added_tokens\.json"
    r"|chat_template.*|vocab\..*|merges\.txt|.*\.model|.*\.tiktoken|tekken\.json"
)
README = """# {job}, step {step}

The adapter of job `{uid}` after step {step} of {total}, for `{base}`.
It is not evaluated on the test rows, and nobody has checked that it loads elsewhere.
Promote the checkpoint to a model for both.
"""


class CheckpointUnusable(ValueError):
    """The stored archive is missing or damaged."""


@dataclass(frozen=True)
class CheckpointRow:
    """A checkpoint with the mean rewards of rollouts and of validation rows at its step."""

    checkpoint: Checkpoint
    reward: float | None
    validation: float | None
    best: bool


def list_checkpoints(job: Job, evaluations: Iterable[Evaluation]) -> list[CheckpointRow]:
    """Return the checkpoints, newest first. ``best`` marks the highest validation reward."""
    found = list(job.checkpoints.all())
    steps = [each.step for each in found]
    metrics = job.metrics.filter(step__in=steps).values_list("step", "values__reward")
    rewards, validation = dict(metrics), read_validation_rewards(evaluations)
    best = max((step for step in steps if step in validation), key=validation.__getitem__, default=None)
    several = len(validation.keys() & set(steps)) > 1
    return [
        CheckpointRow(each, rewards.get(each.step), validation.get(each.step), several and each.step == best)
        for each in found
    ]


def read_validation_rewards(evaluations: Iterable[Evaluation]) -> dict[int, float]:
    """Return step -> mean reward on all validation rows, where it was measured during training."""
    during = [each for each in evaluations if each.stage == "during" and each.split == "validation"]
    return {each.step: each.tuned.reward.mean for each in during if each.tuned and not each.task}


# --- deletion --------------------------------------------------------------------------------------


def discard_old(job: Job) -> None:
    """Keep four checkpoints: the newest, the three best on validation rows, else the next newest.

    Those that a deployment names are kept besides.
    """
    steps = list(job.checkpoints.order_by("-step").values_list("step", flat=True))
    validation = read_validation_rewards(job.evaluations.all())
    best = sorted(validation.keys() & set(steps), key=lambda step: (validation[step], step), reverse=True)
    kept = list(dict.fromkeys([*steps[:1], *best[:KEPT_BEST], *steps]))[:KEPT]
    delete_unserved(job.checkpoints.exclude(step__in=kept))


@transaction.atomic
def delete_unserved(checkpoints: QuerySet[Checkpoint]) -> None:
    """Delete the checkpoints that no version of a deployment names: each may be promoted again."""
    locked = [each.pk for each in checkpoints.select_for_update(of=("self",))]  # nobody deploys one now
    delete_checkpoints(Checkpoint.objects.filter(pk__in=locked, served_versions=None))


def delete_checkpoints(checkpoints: QuerySet[Checkpoint]) -> None:
    """Delete rows, and on commit the archives that no other row names. Call it in a transaction."""
    keys = list(checkpoints.values_list("key", flat=True))
    checkpoints.delete()
    delete_archives(keys)


def delete_archives(keys: Iterable[str]) -> None:
    """On commit delete archives that no row names: a promotion shares its source's archive."""
    for key in keys:
        transaction.on_commit(partial(_delete_unused, key))


def _delete_unused(key: str) -> None:
    if not Checkpoint.objects.filter(key=key).exists():
        default_storage.delete(key)


# --- the adapter -----------------------------------------------------------------------------------


def folder_name(checkpoint: Checkpoint) -> str:
    """Return the name of the only folder in the download, safe on every file system."""
    return f"{checkpoint.job.uid}-step-{checkpoint.step}"


def pack_adapter(checkpoint: Checkpoint) -> ZipStream:
    """Return the adapter as a PEFT folder in a zip archive. Raises ``CheckpointUnusable``."""
    try:
        with default_storage.open(checkpoint.key) as file, tarfile.open(fileobj=file) as tar:
            return _pack(checkpoint, tar)
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise CheckpointUnusable(
            f"The stored checkpoint of step {checkpoint.step} is missing or damaged. Use another one."
        ) from error


def _pack(checkpoint: Checkpoint, tar: tarfile.TarFile) -> ZipStream:
    hashes: dict[str, str] = json.loads(_read(tar, MANIFEST))["files"]
    members = {each.name.removeprefix("./"): each for each in tar.getmembers() if each.isfile()}
    copied = [name for name in sorted(members) if ADAPTER_FILES.fullmatch(name) and name != adapter.CONFIG]
    if adapter.WEIGHTS not in copied:
        raise KeyError(adapter.WEIGHTS)
    written = {adapter.CONFIG: _build_config(checkpoint, tar), "README.md": _build_readme(checkpoint)}
    sums = {name: hashes[name] for name in copied} | {
        name: hashlib.sha256(content).hexdigest() for name, content in written.items()
    }
    written[CHECKSUMS] = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())).encode()
    folder, archive = folder_name(checkpoint), ZipStream(sized=True)
    for name in copied:
        archive.add(_read_blocks(checkpoint.key, name), arcname=f"{folder}/{name}", size=members[name].size)
    for name, content in written.items():
        archive.add(content, arcname=f"{folder}/{name}")
    return archive


def _build_config(checkpoint: Checkpoint, tar: tarfile.TarFile) -> bytes:
    """PEFT's config with the public id of the base model instead of a path on the worker."""
    base = checkpoint.job.base_model
    config = json.loads(_read(tar, adapter.CONFIG))
    config |= {"base_model_name_or_path": base.model_id, "revision": base.revision or None}
    config["inference_mode"] = True
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _build_readme(checkpoint: Checkpoint) -> bytes:
    job = checkpoint.job
    return README.format(
        job=job.name, step=checkpoint.step, uid=job.uid, total=job.total_steps, base=job.base_model.model_id
    ).encode()


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(f"./{name}")
    if member is None:
        raise KeyError(name)
    return member.read()


def _read_blocks(key: str, name: str) -> Iterator[bytes]:
    with default_storage.open(key) as file, tarfile.open(fileobj=file) as tar:
        member = tar.extractfile(f"./{name}")
        assert member, f"{name} was a file when the archive was listed"
        while block := member.read(CHUNK_BYTES):
            yield block
