"""Uploads of adapters: checked without running them, stored like those that jobs make."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction

from webapp.registry.models import BaseModel, LoraShape, StoredFile, TunedModel
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers.contract import adapter
from workers.contract.adapter import AdapterInvalid

BLOCK = 1 << 20
MAX_ENTRIES = 2_000
MAX_DIRECTORY_BYTES = 2_000_000
MAX_EXPANSION = 50
UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError)


def upload_adapter(
    team: Team, user: User, *, name: str, base_model: BaseModel, archive: IO[bytes]
) -> TunedModel:
    """Store the PEFT adapter of a zip file. Raises ``AdapterInvalid`` with what is wrong.

    Only ``adapter_config.json`` and ``adapter_model.safetensors`` are taken from the archive; nothing in it
    is unpickled or run. Nothing is stored before all checks pass; if saving the row fails, files are deleted.
    """
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as weights:
        content = _unpack(archive, weights)
        config = adapter.read_config(content)
        size = weights.tell()
        weights.seek(0)
        adapter.check_weights(weights, size, config)
        model = TunedModel(team=team, base_model=base_model, name=name, uploaded=True)
        model.prefix = f"adapters/{model.uid}"
        model.shape = {"rank": config.r, "alpha": config.lora_alpha, "targets": config.targets}
        try:
            with transaction.atomic():
                model.files = [
                    _store(model, adapter.CONFIG, io.BytesIO(content)),
                    _store(model, adapter.WEIGHTS, weights),
                ]
                model.save()
                record_event(team, user, "uploaded adapter", model)
        except BaseException:
            for file in (adapter.CONFIG, adapter.WEIGHTS):
                default_storage.delete(f"{model.prefix}/{file}")
            raise
    return model


def _unpack(archive: IO[bytes], weights: IO[bytes]) -> bytes:
    """Write the weights to ``weights`` and return the config. Raises ``AdapterInvalid``."""
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as packed:
            _check_names(packed)
            config = _find_entry(packed, adapter.CONFIG, adapter.MAX_CONFIG_BYTES)
            with packed.open(_find_entry(packed, adapter.WEIGHTS, settings.MAX_UPLOAD_BYTES)) as source:
                shutil.copyfileobj(source, weights, BLOCK)
            return packed.read(config)
    except AdapterInvalid:
        raise
    except UNREADABLE as error:
        raise AdapterInvalid(
            "The file is no readable zip archive. Zip the adapter's folder again."
        ) from error


def _check_directory(archive: IO[bytes]) -> None:
    """Refuse too many entries before a list of them takes memory. Raises ``AdapterInvalid``."""
    end = getattr(zipfile, "_EndRecData")(archive)  # noqa: B009 - typeshed does not know it
    if end and (end[4] > MAX_ENTRIES or end[5] > MAX_DIRECTORY_BYTES):
        raise AdapterInvalid(
            f"The archive holds more than {MAX_ENTRIES:,} files. Pack the adapter's folder alone."
        )


def _check_names(packed: zipfile.ZipFile) -> None:
    """Refuse names outside of the archive, and links. Raises ``AdapterInvalid``."""
    for entry in packed.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise AdapterInvalid(
                f"The archive names {entry.filename[:80]!r}, outside of its folder. Pack the folder again."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise AdapterInvalid(
                f"{entry.filename[:80]!r} is a link. Pack the files themselves (zip without --symlinks)."
            )


def _find_entry(packed: zipfile.ZipFile, name: str, most_bytes: int) -> zipfile.ZipInfo:
    """Return the only entry of this name, in any folder. Raises ``AdapterInvalid``."""
    found = [entry for entry in packed.infolist() if PurePosixPath(entry.filename).name == name]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise AdapterInvalid(
            f"The archive holds {many} {name}. Pack the one folder that PEFT's save_pretrained wrote."
        )
    entry = found[0]
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise AdapterInvalid(f"{name} is packed in an unusual way. Pack it as ordinary zip (deflate).")
    if entry.file_size > most_bytes:
        raise AdapterInvalid(f"{name} is too large for an adapter. Is this a whole model?")
    if entry.file_size > BLOCK and entry.file_size > MAX_EXPANSION * max(1, entry.compress_size):
        raise AdapterInvalid(
            f"{name} would grow to more than {MAX_EXPANSION} times its packed size; trained weights never do."
        )
    return entry


def _store(model: TunedModel, name: str, file: IO[bytes]) -> StoredFile:
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = file.tell()
    file.seek(0)
    default_storage.save(f"{model.prefix}/{name}", File(file))
    return {"name": name, "bytes": size, "sha256": sha256}


def read_lora_shape(model: TunedModel) -> LoraShape:
    """Return the shape of an adapter: stored with an upload, in its job's settings, or in its config."""
    if model.shape:
        return cast(LoraShape, model.shape)
    job = getattr(model, "job", None)
    if job is not None:
        lora = job.settings.lora
        return {"rank": lora.rank, "alpha": lora.alpha, "targets": lora.targets}
    with default_storage.open(f"{model.prefix}/{adapter.CONFIG}") as file:
        config = adapter.AdapterConfig.model_validate(json.load(file))
    return {"rank": config.r, "alpha": config.lora_alpha, "targets": config.targets}
