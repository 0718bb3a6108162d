"""Adapters that people bring along: checked without being run, kept like those that jobs make."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
import zlib
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
UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError)


@transaction.atomic
def upload_adapter(
    team: Team, user: User, *, name: str, base_model: BaseModel, archive: IO[bytes]
) -> TunedModel:
    """Keeps the PEFT adapter of a zip file. Raises ``AdapterInvalid`` with what is wrong with it.

    Only ``adapter_config.json`` and ``adapter_model.safetensors`` are taken from the archive; nothing in it
    is unpickled or run.
    """
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as weights:
        content = _unpacked(archive, weights)
        config = adapter.read_config(content)
        size = weights.tell()
        weights.seek(0)
        adapter.check_weights(weights, size, config)
        model = TunedModel(team=team, base_model=base_model, name=name, uploaded=True)
        model.prefix = f"adapters/{model.uid}"
        model.shape = {"rank": config.r, "alpha": config.lora_alpha, "targets": config.targets}
        model.files = [
            _store(model, adapter.CONFIG, io.BytesIO(content)),
            _store(model, adapter.WEIGHTS, weights),
        ]
    model.save()
    record(team, user, "uploaded adapter", model)
    return model


def _unpacked(archive: IO[bytes], weights: IO[bytes]) -> bytes:
    """Writes the weights to ``weights`` and returns the config. Raises ``AdapterInvalid``."""
    try:
        with zipfile.ZipFile(archive) as packed:
            config = _entry(packed, adapter.CONFIG, adapter.MAX_CONFIG_BYTES)
            with packed.open(_entry(packed, adapter.WEIGHTS, settings.MAX_UPLOAD_BYTES)) as source:
                shutil.copyfileobj(source, weights, BLOCK)
            return packed.read(config)
    except AdapterInvalid:
        raise
    except UNREADABLE as error:
        raise AdapterInvalid(
            "The file is no readable zip archive. Pack the adapter's folder again."
        ) from error


def _entry(packed: zipfile.ZipFile, name: str, most_bytes: int) -> zipfile.ZipInfo:
    """The only entry of this name, in whatever folder. Raises ``AdapterInvalid``."""
    found = [entry for entry in packed.infolist() if PurePosixPath(entry.filename).name == name]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise AdapterInvalid(
            f"The archive holds {many} {name}. Pack the one folder that PEFT's save_pretrained wrote."
        )
    if found[0].file_size > most_bytes:
        raise AdapterInvalid(f"{name} is too large for an adapter. Is this a whole model?")
    return found[0]


def _store(model: TunedModel, name: str, file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = file.tell()
    file.seek(0)
    default_storage.save(f"{model.prefix}/{name}", File(file))
    return {"name": name, "bytes": size, "sha256": sha256}


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
