"""The recorded results and the table of ``docs/models.md`` that is made from them."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.models.families import FAMILIES
from workers.contract.exports import KINDS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- families: python -m tests.models -->", "<!-- /families -->"
HEAD = """\
| family | kind | embeddings | system | path | `all-linear` adapts | merged | merged GGUF | GGUF adapter |
|---|---|---|---|---|---|---|---|---|"""
Json = dict[str, Any]


def results() -> dict[str, Json]:
    """Return the result of the last trial of each family."""
    read: dict[str, Json] = json.loads(RESULTS.read_text())["families"] if RESULTS.exists() else {}
    return read


def record(family: str, found: Json) -> None:
    """Keeps what a trial found, in the order of the families."""
    known = results() | {family: found}
    versions = {name: version(name) for name in ("transformers", "peft", "trl", "torch")}
    ordered = {name: known[name] for name in FAMILIES if name in known}
    RESULTS.write_text(json.dumps({"versions": versions, "families": ordered}, indent=1) + "\n")


def text() -> str:
    """Return the table and its numbered notes."""
    words: list[str] = []
    rows = [_row(family, found, words) for family, found in results().items()]
    notes = [f"{number}. {word}" for number, word in enumerate(words, start=1)]
    versions = json.loads(RESULTS.read_text())["versions"]
    made = ", ".join(f"{name} {number}" for name, number in versions.items())
    return "\n".join([f"Tried with {made}.", "", HEAD, *rows, "", "Words of refusals and logs:", "", *notes])


def _row(family: str, found: Json, words: list[str]) -> str:
    tied = "tied" if found["tied"] else "untied"
    cells = [f"`{family}`", found["kind"], tied, "yes" if found["system"] else "no"]
    if "refused" in found:
        return _line([*cells, f"refused {_note(found['refused'], words)}", "", "", "", ""])
    targets = ", ".join(found["targets"])
    if found["frozen"]:
        targets += f" {_note(_general(found['frozen']), words)}"
    exports = [_export(found["exports"][kind], words) for kind in KINDS]
    return _line([*cells, found["path"], targets, *exports])


def _general(frozen: str) -> str:
    """The log's sentence without the layers and the share of one model."""
    experts = frozen[frozen.index("; the experts") :].split("(")[0]
    return (
        f"This is a mixture of experts. The adapter changes …{experts}(…) and the routers stay frozen, … %."
    )


def _export(refused: str, words: list[str]) -> str:
    if not refused:
        return "yes"
    if "Its tokenizer splits text" in refused:
        return f"by tokenizer {_note(refused, words)}"
    if refused.startswith("The architecture "):
        refused = "The architecture … cannot be written as GGUF here" + refused[refused.index(";") :]
    return f"no {_note(refused, words)}"


def _note(word: str, words: list[str]) -> str:
    if word not in words:
        words.append(word)
    return f"({words.index(word) + 1})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written() -> str:
    """The table as the page has it."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0].strip()


def write() -> None:
    """Puts the table into the page, in place of the one that is there."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text()}\n\n{END}{rest.split(END)[1]}")
