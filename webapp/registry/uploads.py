"""Adapters that people bring along: checked without being run, kept like those that jobs make."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction

from webapp.teams.models import Team, User
from webapp.teams.services import record
from workers import adapter
from workers.adapter import AdapterInvalid

from .models import BaseModel, TunedModel

BLOCK = 1 << 20


@transaction.atomic
def upload_adapter(
    team: Team, user: User, *, name: str, base_model: BaseModel, archive: IO[bytes]
) -> TunedModel:
    """Keeps the PEFT adapter of a zip file. Raises ``AdapterInvalid`` with what is wrong with it.

    Only ``adapter_config.json`` and ``adapter_model.safetensors`` are taken from the archive; nothing in it
    is unpickled or run.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            model = _kept(team, name, base_model, packed)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise AdapterInvalid(
            "The file is no readable zip archive. Pack the adapter's folder again."
        ) from error
    record(team, user, "uploaded adapter", model)
    return model


def _kept(team: Team, name: str, base_model: BaseModel, packed: zipfile.ZipFile) -> TunedModel:
    config_entry, weights_entry = _entry(packed, adapter.CONFIG), _entry(packed, adapter.WEIGHTS)
    if (
        config_entry.file_size > adapter.MAX_CONFIG_BYTES
        or weights_entry.file_size > settings.MAX_UPLOAD_BYTES
    ):
        raise AdapterInvalid("Its files are too large for an adapter. Is this a whole model?")
    with packed.open(config_entry) as file:
        config = adapter.read_config(file.read())
    with packed.open(weights_entry) as file:
        adapter.check_weights(file, weights_entry.file_size, config)
    model = TunedModel(team=team, base_model=base_model, name=name, files=[], uploaded=True)
    model.prefix = f"adapters/{model.uid}"
    model.shape = {"rank": config.r, "alpha": config.lora_alpha, "targets": config.targets}
    with packed.open(config_entry) as configuration, packed.open(weights_entry) as weights:
        model.files = [
            _store(model, adapter.CONFIG, configuration),
            _store(model, adapter.WEIGHTS, weights),
        ]
    model.save()
    return model


def _entry(packed: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The only entry of this name, in whatever folder. Raises ``AdapterInvalid``."""
    found = [entry for entry in packed.infolist() if PurePosixPath(entry.filename).name == name]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise AdapterInvalid(
            f"The archive holds {many} {name}. Pack the one folder that PEFT's save_pretrained wrote."
        )
    return found[0]


def _store(model: TunedModel, name: str, source: IO[bytes]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as copy:
        while block := source.read(BLOCK):
            digest.update(block)
            copy.write(block)
        size = copy.tell()
        copy.seek(0)
        default_storage.save(f"{model.prefix}/{name}", File(copy))
    return {"name": name, "bytes": size, "sha256": digest.hexdigest()}


def shape_of(model: TunedModel) -> dict[str, Any]:
    """Rank, alpha and targets of an adapter, as the section ``lora`` of a job's settings has them."""
    if model.shape:
        return dict(model.shape)
    job = getattr(model, "job", None)
    if job is not None:
        return {key: job.settings["lora"][key] for key in ("rank", "alpha", "targets")}
    with default_storage.open(f"{model.prefix}/{adapter.CONFIG}") as file:
        config = adapter.AdapterConfig.model_validate(json.load(file))
    return {"rank": config.r, "alpha": config.lora_alpha, "targets": config.targets}
