"""Command-line arguments for a base model: workers write them, engine and model server read them."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from workers.contract.spec import BaseModelRef

RENDERING = {"chat_template", "template_arguments"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that name a base model."""
    parser.add_argument(
        "--base", "--model", required=True, help="folder of the base model, its Hugging Face id, or its name"
    )
    parser.add_argument("--path", help="where the files of a base model with a name are")
    parser.add_argument("--revision", help="of a base model on the hub")


def add_rendering(parser: ArgumentParser) -> None:
    """Add the argument for the rendering of the base model's prompts."""
    parser.add_argument(
        "--rendering", type=Path, help="JSON file with chat_template and template_arguments for the model"
    )


def read_ref(arguments: Namespace) -> BaseModelRef:
    """Return the base model of a command line; a folder has its own name as id."""
    name, path = arguments.base, arguments.path
    if path is None and _is_model_folder(Path(name)):
        folder = Path(name).resolve()
        name, path = folder.name, str(folder)
    file = getattr(arguments, "rendering", None)
    rendering = json.loads(file.read_text()) if file else {}
    return BaseModelRef(id=name, revision=arguments.revision, path=path, **rendering)


def _is_model_folder(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder.is_absolute() and folder.is_dir())


def write_arguments(ref: BaseModelRef, rendering: Path | None = None) -> list[str]:
    """Return the arguments for ``ref``; write chat template and arguments to the file ``rendering``."""
    arguments = ["--base", ref.id]
    if ref.path:
        arguments += ["--path", ref.path]
    if ref.revision:
        arguments += ["--revision", ref.revision]
    if rendering:
        rendering.write_text(ref.model_dump_json(include=RENDERING))
        arguments += ["--rendering", str(rendering)]
    return arguments
