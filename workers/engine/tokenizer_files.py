"""The base model's own tokenizer files, for packages and exports.

transformers 5 writes them in a form that transformers 4 cannot read (``tokenizer_class: TokenizersBackend``,
``extra_special_tokens`` as a list), and software that serves models often still runs 4. So the files are
copied, not saved again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

CONFIG: Final = "tokenizer_config.json"
TEMPLATE: Final = "chat_template.jinja"
OLD_TEMPLATE: Final = "chat_template.json"
REMOTE_CODE: Final = "auto_map"
VOCABULARIES: Final = {
    "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "tokenizer.model",
    "spiece.model", "sentencepiece.bpe.model", "spm.model", "source.spm", "target.spm",
}  # fmt: skip
OTHERS: Final = {CONFIG, TEMPLATE, OLD_TEMPLATE, "special_tokens_map.json", "added_tokens.json"}


def write_tokenizer(tokenizer: Any, base: Path, folder: Path) -> None:
    """Copy the base's tokenizer files into ``folder``, with the chat template that ``tokenizer`` has.

    A base without such files gets those that transformers writes.
    """
    found = [path for path in base.iterdir() if path.name in _names(tokenizer) and path.is_file()]
    if not any(path.name in VOCABULARIES or path.suffix == ".tiktoken" for path in found):
        tokenizer.save_pretrained(folder)
        return
    for path in found:
        shutil.copyfile(path, folder / path.name)
    _drop_remote_code(folder / CONFIG)
    template = tokenizer.chat_template
    if isinstance(template, str) and template != read_template(folder):
        _replace_template(folder, template)


def read_template(folder: Path) -> str | None:
    """The chat template that loading a tokenizer from ``folder`` finds first; None without any."""
    if (file := folder / TEMPLATE).exists():
        return file.read_text()
    for name in (OLD_TEMPLATE, CONFIG):
        if template := _read(folder / name).get("chat_template"):
            return template if isinstance(template, str) else _default(template)
    return None


def _names(tokenizer: Any) -> set[str]:
    """File names of any tokenizer, and those of its class."""
    own = {name for name in tokenizer.vocab_files_names.values() if isinstance(name, str)}
    return VOCABULARIES | OTHERS | own


def _default(templates: list[dict[str, str]]) -> str | None:
    """Of several named templates the one that is used unless another is asked for."""
    named = {each["name"]: each["template"] for each in templates}
    return named.get("default")


def _replace_template(folder: Path, template: str) -> None:
    """Write the template everywhere that some version of transformers reads it."""
    (folder / TEMPLATE).write_text(template)
    (folder / OLD_TEMPLATE).unlink(missing_ok=True)
    config = _read(folder / CONFIG)
    if "chat_template" in config:
        _write(folder / CONFIG, config | {"chat_template": template})


def _drop_remote_code(file: Path) -> None:
    """Remove the reference to Python files of the base, which are neither run nor copied here."""
    config = _read(file)
    if config.pop(REMOTE_CODE, None) is not None:
        _write(file, config)


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return content


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
