"""One export: check the kind, write it, load it again, compare it, keep it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from workers.contract.exports import GGUF, GGUF_ADAPTER, MERGED, ExportKind, read_base
from workers.engine.errors import EngineError
from workers.engine.export import gguf_adapter, gguf_model, merged
from workers.engine.export.checking import Verification
from workers.engine.export.source import CheckStop, Source, load
from workers.engine.export.texts import write_readme
from workers.engine.packaging.package import write_checksums

Exporter = Callable[[Source, Path, CheckStop], Verification]

EXPORTERS: Final[Mapping[str, Exporter]] = {
    MERGED.id: merged.export,
    GGUF.id: gguf_model.export,
    GGUF_ADAPTER.id: gguf_adapter.export,
}
"""Functions that write an export of a kind into a folder, load it again and check it."""


def export(
    package: Path,
    base: Path,
    kind: ExportKind,
    out: Path,
    rollouts: Path | None = None,
    check_stop: CheckStop = lambda: None,
) -> Path:
    """Write ``out/export`` and ``out/export.json`` and return the folder.

    Raises ``EngineError``, without a folder, if the base does not allow this kind or if what was written is
    not the same model.
    """
    if reason := kind.find_refusal(*read_base(base)):
        raise EngineError("export_refused", reason, "Choose another kind of export.")
    draft, final = out / ".export", out / "export"
    for folder in (draft, final):
        shutil.rmtree(folder, ignore_errors=True)
    draft.mkdir(parents=True)
    source = load(package, base, rollouts)
    check_stop()
    try:
        verification = EXPORTERS[kind.id](source, draft, check_stop)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    write_readme(source, kind, verification, draft)
    write_checksums(draft)
    (out / "export.json").write_text(
        json.dumps({"kind": kind.id, "verification": verification}, indent=2) + "\n"
    )
    return draft.rename(final)
