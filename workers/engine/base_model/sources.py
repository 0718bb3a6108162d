"""Files of base models, located or downloaded by kind of source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from workers.contract.base_models import folder_check
from workers.contract.base_models.sources import FolderSource, HubSource
from workers.contract.spec import BaseModelRef
from workers.engine import errors
from workers.engine.base_model import loading, model_errors

MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken"]
NOT_FETCHED = ["original/*", "consolidated*", "*/*.safetensors", "onnx/*", "coreml/*"]
HUB_SECONDS = 20.0  # that the hub may take to list a model's files


@dataclass(frozen=True)
class Fetcher:
    """Implements ``locate`` and ``fetch_texts`` for one kind of source."""

    locate: Callable[[BaseModelRef, Path], tuple[Path, str | None]]
    fetch_texts: Callable[[BaseModelRef, Path], tuple[Path, dict[str, int]]]


def locate(ref: BaseModelRef, folder: Path) -> tuple[Path, str | None]:
    """Return the folder with the weights and, for a hub model, its commit. Raises ``EngineError``.

    A relative path is below ``folder``.
    """
    return FETCHERS[ref.source.kind].locate(ref, folder)


def fetch_texts(ref: BaseModelRef, folder: Path) -> tuple[Path, dict[str, int]]:
    """Return a folder with all files but the weights, and the size of each file, weights included.

    Raises ``EngineError``.
    """
    return FETCHERS[ref.source.kind].fetch_texts(ref, folder)


def _check_folder(ref: BaseModelRef, folder: Path) -> tuple[Path, str | None]:
    path = folder / ref.source.path
    if not path.is_dir():
        raise model_errors.model_not_found(str(path))
    loading.check_root(ref.id, path)
    return path, ref.revision


def _list_folder(ref: BaseModelRef, folder: Path) -> tuple[Path, dict[str, int]]:
    path, _ = _check_folder(ref, folder)
    return path, _read_sizes(path)


def _read_sizes(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}


def _download(ref: BaseModelRef, folder: Path) -> tuple[Path, str]:
    """Download what loading reads, without copies of the weights such as ``consolidated`` and ``.bin``."""
    with _hub_errors(ref):
        path = _snapshot(ref, MODEL_FILES)
        if loading.allows_pickled() and not folder_check.weight_files(path):
            snapshot_download(ref.id, revision=path.name, allow_patterns=[folder_check.PICKLED])
        return path, path.name


def _download_texts(ref: BaseModelRef, folder: Path) -> tuple[Path, dict[str, int]]:
    """Offline, the files and sizes are those in the cache."""
    with _hub_errors(ref):
        try:
            listed = HfApi().model_info(
                ref.id, revision=ref.revision, files_metadata=True, timeout=HUB_SECONDS
            )
        except OfflineModeIsEnabled:
            path = _snapshot(ref, MODEL_FILES)
            return path, _read_sizes(path)
        sizes = {
            file.rfilename: file.size or 0 for file in listed.siblings or [] if "/" not in file.rfilename
        }
        return _snapshot(ref, [name for name in MODEL_FILES if name != "*.safetensors"]), sizes


def _snapshot(ref: BaseModelRef, patterns: list[str]) -> Path:
    return Path(
        snapshot_download(ref.id, revision=ref.revision, allow_patterns=patterns, ignore_patterns=NOT_FETCHED)
    )


@contextmanager
def _hub_errors(ref: BaseModelRef) -> Iterator[None]:
    """Turn exceptions of the hub's client into ``EngineError``."""
    try:
        yield
    except GatedRepoError as error:
        raise model_errors.model_gated(ref.id, str(error)) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise model_errors.model_not_found(ref.id, str(error)) from error
    except (LocalEntryNotFoundError, OSError, httpx2.HTTPError) as error:
        if errors.is_disk_full(error):
            raise errors.disk_full(str(error)) from error
        raise model_errors.hub_unreachable(ref.id, str(error)) from error


FETCHERS: Final[Mapping[str, Fetcher]] = {
    FolderSource.kind: Fetcher(_check_folder, _list_folder),
    HubSource.kind: Fetcher(_download, _download_texts),
}
