"""Sources of base models: a folder of the workers, or the Hugging Face hub.

A new kind of source is a class in ``SOURCES`` and an entry of ``FETCHERS`` in
``workers/engine/base_model/sources.py``.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
HUB_ID: Final = re.compile(rf"{NAME.pattern}/{NAME.pattern}", re.ASCII)
REVISION: Final = re.compile(rf"{NAME.pattern}(/{NAME.pattern})*", re.ASCII)
NO_HUB_ID: Final = (
    "This is not a Hugging Face id: write organisation/name with letters, digits and . _ - only."
)


@dataclass(frozen=True)
class BaseSource(ABC):
    """The source of one base model. An empty ``revision`` or ``path`` means that it has none.

    ``label`` names the kind on pages; ``path_label`` and ``path_help`` describe the path on a form.
    """

    kind: ClassVar[str]
    label: ClassVar[str]
    path_label: ClassVar[str] = ""
    path_help: ClassVar[str] = ""
    has_revisions: ClassVar[bool] = False

    id: str
    revision: str
    path: str

    @staticmethod
    @abstractmethod
    def matches(path: str) -> bool:
        """True if a model with this path is of this kind."""

    @abstractmethod
    def find_problem(self, roots: Sequence[Path]) -> tuple[str, str] | None:
        """Return the field (``id`` or ``path``) to correct, and why; None if there is no problem.

        Folders must be below ``roots``.
        """

    @property
    def load_name(self) -> str:
        """Model argument of ``from_pretrained`` and ``vllm serve``."""
        return self.path

    @property
    def load_revision(self) -> str:
        """Their revision argument; empty if none."""
        return ""

    def resolve_path(self, root: Path) -> str:
        """Return the path; a relative folder becomes absolute below ``root``."""
        return self.path

    def find_folder(self, root: Path, roots: Sequence[Path]) -> Path | None:
        """Return a local folder that already has the files; None if there is none below ``roots``."""
        return None


class FolderSource(BaseSource):
    """A folder with the same path on every worker."""

    kind = "folder"
    label = "folder"
    path_label = "Folder on the workers"
    path_help = "Only for a model that is not on the hub: the same absolute path on every worker."

    @staticmethod
    def matches(path: str) -> bool:
        return bool(path)

    def find_problem(self, roots: Sequence[Path]) -> tuple[str, str] | None:
        if not self.path.startswith("/") or ".." in PurePosixPath(self.path).parts:
            return "path", "Give the absolute path: it begins with / and has no .. in it."
        if not _is_below(Path(self.path), roots):
            return "path", (
                f"Models must be below {', '.join(map(str, roots))}. Move it there, or ask the operator "
                "to add its folder to GROOVE_BASE_MODEL_ROOTS."
            )
        return None if HUB_ID.fullmatch(self.id) or NAME.fullmatch(self.id) else ("id", NO_HUB_ID)

    def resolve_path(self, root: Path) -> str:
        return str((root / self.path).resolve())

    def find_folder(self, root: Path, roots: Sequence[Path]) -> Path | None:
        folder = Path(self.resolve_path(root))
        return folder if _is_below(folder, roots) else None


class HubSource(BaseSource):
    """A repository of the Hugging Face hub, which workers download to their cache."""

    kind = "hub"
    label = "Hugging Face"
    has_revisions = True

    @staticmethod
    def matches(path: str) -> bool:
        return not path

    def find_problem(self, roots: Sequence[Path]) -> tuple[str, str] | None:
        if HUB_ID.fullmatch(self.id):
            return None
        if NAME.fullmatch(self.id):
            return "id", (
                "Write organisation/name, as on the hub; or name the model's folder on the workers below."
            )
        return "id", NO_HUB_ID

    @property
    def load_name(self) -> str:
        return self.id

    @property
    def load_revision(self) -> str:
        return self.revision

    def find_folder(self, root: Path, roots: Sequence[Path]) -> Path | None:
        revision = self.revision or "main"
        if not REVISION.fullmatch(revision):  # it could lead out of the model's own cache
            return None
        home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
        hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
        cached = hub / f"models--{self.id.replace('/', '--')}"
        reference = cached / "refs" / revision
        commit = reference.read_text().strip() if reference.is_file() else revision
        folder = cached / "snapshots" / commit
        return folder if folder.is_dir() else None


SOURCES: Final[tuple[type[BaseSource], ...]] = (FolderSource, HubSource)
"""Kinds of sources; the first one that matches a model's path applies."""


def find_source(id: str, revision: str | None, path: str | None) -> BaseSource:
    """Return the source of the base model with this id, revision and path."""
    kind = next(each for each in SOURCES if each.matches(path or ""))
    return kind(id, revision or "", path or "")


def _is_below(folder: Path, roots: Sequence[Path]) -> bool:
    return any(folder.is_relative_to(root) for root in roots)
