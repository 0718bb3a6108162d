"""One family tried: a job of two steps on the CPU, its package loaded again, and every export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models.families import MIXTURES, RECURRENT, SYSTEM_REFUSED, build
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec
from workers.contract.adapter import CONFIG
from workers.contract.exports import KINDS
from workers.engine.base_model.targets import suffixes
from workers.engine.training.grpo import SHARED

Json = dict[str, Any]


def try_family(family: str, folder: Path, exports: bool = True) -> Json:
    """Results of one family for ``docs/models.md``; ``refused`` is the error if no job runs."""
    folder.mkdir(parents=True)
    config = build(family, folder / "base").get_text_config()
    found: Json = {
        "kind": "mixture" if family in MIXTURES else "recurrent" if family in RECURRENT else "dense",
        "class": json.loads((folder / "base/config.json").read_text())["architectures"][0],
        "tied": bool(config.tie_word_embeddings),
        "system": family not in SYSTEM_REFUSED,
    }
    status = run_engine("run", _spec(folder), "--out", folder / "out")
    events = events_of(folder / "out")
    if status:
        error = of_type(events, "error")[0]
        return found | {"refused": error.message, "code": error.code}
    said = [event.message for event in of_type(events, "log")]
    package = folder / "out/package"
    adapter = json.loads((package / CONFIG).read_text())
    verdict = json.loads((package / "run.json").read_text())["verification"]
    assert verdict["ok"], f"{family}: the package was kept though its numbers differ"
    found |= {
        "path": "fast" if SHARED in said else "plain",
        "targets": suffixes(set(adapter["target_modules"])),
        "frozen": next((message for message in said if "mixture of experts" in message), ""),
    }
    return found | ({"exports": {kind: _export(kind, folder) for kind in KINDS}} if exports else {})


def _spec(folder: Path) -> Path:
    """A job of two steps with prompts of different lengths, so that some rows are padded."""
    spec = small_spec(folder, folder / "base")
    spec["grpo"] |= {"max_steps": 2, "checkpoint_every": 2, "beta": 0.0}
    spec["evaluation"] |= {"every": 0, "samples_per_row": 2}
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder / "spec.json"


def _export(kind: str, folder: Path) -> str:
    """Empty if the export was made and gave the model's numbers, else the words of the refusal."""
    out = folder / kind
    package, base = folder / "out/package", folder / "base"
    if run_engine("export", package, "--base", base, "--kind", kind, "--out", out) == 0:
        return ""
    said = of_type(events_of(out), "error")[0]
    return str(said.message)
