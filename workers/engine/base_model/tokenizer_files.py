"""The base model's own tokenizer files, for packages, exports and checkpoints.

transformers 5 writes them in a form that transformers 4 cannot read (``tokenizer_class: TokenizersBackend``,
``extra_special_tokens`` as a list), and software that serves models often still runs 4. So the files are
copied, not saved again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from workers.contract.json_types import JsonObject, JsonValue

CONFIG: Final = "tokenizer_config.json"
TEMPLATE: Final = "chat_template.jinja"
OLD_TEMPLATE: Final = "chat_template.json"
REMOTE_CODE: Final = "auto_map"
Template = str | dict[str, str] | None
VOCABULARIES: Final = {
    "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "tokenizer.model",
    "spiece.model", "sentencepiece.bpe.model", "spm.model", "source.spm", "target.spm",
}  # fmt: skip
OTHERS: Final = {CONFIG, TEMPLATE, OLD_TEMPLATE, "special_tokens_map.json", "added_tokens.json"}


def write_tokenizer(tokenizer: Any, base: Path, folder: Path) -> None:
    """Copy the base's tokenizer files into ``folder``, with the chat template of ``tokenizer``.

    If the base has no such files, transformers writes them. No subfolder is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [path for path in base.iterdir() if path.name in _list_names(tokenizer) and path.is_file()]
    if not any(path.name in VOCABULARIES or path.suffix == ".tiktoken" for path in found):
        one = not isinstance(tokenizer.chat_template, dict)
        type(tokenizer).save_pretrained(tokenizer, folder, save_jinja_files=one)
        return
    for path in found:
        shutil.copyfile(path, folder / path.name)
    _drop_remote_code(folder / CONFIG)
    if tokenizer.chat_template != _read_template(folder):
        _replace_template(folder, tokenizer.chat_template)


def _read_template(folder: Path) -> Template:
    """Return the chat template, or several by name, that a tokenizer of ``folder`` has."""
    if (file := folder / TEMPLATE).exists():
        return file.read_text()
    for name in (OLD_TEMPLATE, CONFIG):
        if template := _read(folder / name).get("chat_template"):
            if isinstance(template, list):
                named = [each for each in template if isinstance(each, dict)]
                return {str(each["name"]): str(each["template"]) for each in named}
            return str(template)
    return None


def _list_names(tokenizer: Any) -> set[str]:
    """Return file names of any tokenizer and of this class."""
    own = {name for name in tokenizer.vocab_files_names.values() if isinstance(name, str)}
    return VOCABULARIES | OTHERS | own


def _replace_template(folder: Path, template: Template) -> None:
    """Write the template to every file from which some version of transformers reads it.

    Several templates become a list in the config, for versions that do not know the folder
    ``additional_chat_templates``.
    """
    (folder / OLD_TEMPLATE).unlink(missing_ok=True)
    config = _read(folder / CONFIG)
    if isinstance(template, dict):
        (folder / TEMPLATE).unlink(missing_ok=True)
        named: list[JsonValue] = [{"name": name, "template": text} for name, text in template.items()]
        _write(folder / CONFIG, config | {"chat_template": named})
    elif template is not None:
        (folder / TEMPLATE).write_text(template)
        if "chat_template" in config:
            _write(folder / CONFIG, config | {"chat_template": template})


def _drop_remote_code(file: Path) -> None:
    """Remove the reference to Python files of the base, which are neither run nor copied here."""
    config = _read(file)
    if config.pop(REMOTE_CODE, None) is not None:
        _write(file, config)


def _read(file: Path) -> JsonObject:
    content: JsonObject = json.loads(file.read_text()) if file.exists() else {}
    return content


def _write(file: Path, content: JsonObject) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
