"""One export from beginning to end: refuse or write, load again, compare, keep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from workers.contract.exports import Json, Kind, read_base, refusal
from workers.engine.errors import EngineError
from workers.engine.export import gguf_adapter, gguf_model, merged, texts
from workers.engine.export.checking import Verification
from workers.engine.export.source import Source, load
from workers.engine.package import write_checksums


def export(
    package: Path,
    base: Path,
    kind: Kind,
    out: Path,
    rollouts: Path | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Path:
    """Writes ``out/export`` and ``out/export.json`` and returns the folder.

    Raises ``EngineError`` if the base cannot be exported so, or if what was written is not the model; then
    there is no folder.
    """
    config, tokenizer = read_base(base)
    if reason := refusal(kind, config, tokenizer):
        raise EngineError("export_refused", reason, "Choose another kind of export.")
    draft, final = out / ".export", out / "export"
    for folder in (draft, final):
        shutil.rmtree(folder, ignore_errors=True)
    draft.mkdir(parents=True)
    source = load(package, base, rollouts)
    check_stop()
    try:
        verification = _made(source, kind, tokenizer, draft, check_stop)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _describe(source, kind, verification, draft)
    (out / "export.json").write_text(
        json.dumps({"kind": kind, "verification": verification}, indent=2) + "\n"
    )
    return draft.rename(final)


def _made(
    source: Source, kind: Kind, tokenizer: Json | None, folder: Path, check_stop: Callable[[], None]
) -> Verification:
    if kind == "gguf-adapter":
        (folder / "Modelfile").write_text(texts.modelfile(source, kind))
        gguf_adapter.write(source, folder)
        check_stop()
        if tokenizer is not None and not refusal("gguf", read_base(source.base_path)[0], tokenizer):
            gguf_model.write_base(source, tokenizer, folder)
            check_stop()
        return gguf_adapter.check(source, folder)
    if kind == "merged":
        model = merged.merge(source)
        merged.write(model, source, folder)
        check_stop()
        return merged.check(model, source, folder)
    assert tokenizer is not None, "refused before"
    (folder / "Modelfile").write_text(texts.modelfile(source, kind))
    model = merged.merge(source)
    gguf_model.write(model, source, tokenizer, folder)
    check_stop()
    return gguf_model.check(model, source, tokenizer, folder)


def _describe(source: Source, kind: Kind, verification: Verification, folder: Path) -> None:
    (folder / "README.md").write_text(texts.readme(source, kind, verification))
    write_checksums(folder)
