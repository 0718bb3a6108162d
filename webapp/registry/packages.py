"""An adapter package as it leaves Groove: one archive, and the commands that use it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from django.core.files.storage import default_storage
from zipstream import ZipStream

from webapp.registry.models import TunedModel
from workers.contract.exports import ExportKind

CHUNK_BYTES = 2**18
VLLM_RANKS = (8, 16, 32, 64, 128, 256)  # the values that vLLM's --max-lora-rank takes
DEFAULT_RANK = 16
DEFAULT_TOKENS = 256

PEFT = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

adapter = {adapter}
tokenizer = AutoTokenizer.from_pretrained({tokenizer})
base = AutoModelForCausalLM.from_pretrained({base}{revision})
model = PeftModel.from_pretrained(base, adapter)

messages = [{{"role": "user", "content": "Your prompt"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**inputs, max_new_tokens={tokens})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))"""


def folder_name(model: TunedModel) -> str:
    """The archive's only folder; safe on every file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.name).strip("-.") or model.uid


def archive(model: TunedModel) -> ZipStream:
    """All files in one folder, uncompressed, read from storage while sent; ``len()`` is its size in bytes."""
    return zipped(folder_name(model), model.prefix, model.files)


def zipped(folder: str, prefix: str, files: list[dict[str, Any]]) -> ZipStream:
    """Files of storage in one folder of a zip archive; ``len()`` is its size in bytes."""
    zipped = ZipStream(sized=True)
    for file in files:
        blocks = _blocks(f"{prefix}/{file['name']}")
        zipped.add(blocks, arcname=f"{folder}/{file['name']}", size=file["bytes"])
    return zipped


def _blocks(key: str) -> Iterator[bytes]:
    with default_storage.open(key) as file:
        while block := file.read(CHUNK_BYTES):
            yield block


def peft_code(model: TunedModel) -> str:
    """Python that loads the unpacked archive and answers one prompt."""
    source = model.base_model.source
    job = getattr(model, "job", None)
    tokens = job.settings.grpo.max_completion_length if job else DEFAULT_TOKENS
    return PEFT.format(
        adapter=_quoted(folder_name(model)),
        base=_quoted(source.load_name),
        tokenizer=_quoted(source.load_name) if model.uploaded else "adapter",
        revision=f", revision={_quoted(source.load_revision)}" if source.load_revision else "",
        tokens=tokens,
    )


def vllm_command(model: TunedModel) -> str:
    """A shell command that serves base and adapter by vLLM."""
    source, folder = model.base_model.source, folder_name(model)
    job = getattr(model, "job", None)
    rank = model.shape.get("rank") or (job.settings.lora.rank if job else DEFAULT_RANK)
    words = ["vllm", "serve", source.load_name]
    if source.load_revision:
        words += ["--revision", source.load_revision]
    allowed = next(each for each in VLLM_RANKS if each >= rank)
    words += ["--enable-lora", "--max-lora-rank", str(allowed), "--lora-modules", f"{folder}=./{folder}"]
    return shlex.join(words)


def export_folder(model: TunedModel, kind_id: str) -> str:
    """The only folder of an export's archive."""
    return f"{folder_name(model)}-{kind_id}"


def export_commands(model: TunedModel, kind: ExportKind) -> list[str]:
    """Shell commands that serve an unpacked export, run beside its folder."""
    return kind.format_commands(folder_name(model), export_folder(model, kind.id))


def _quoted(text: str) -> str:
    """A Python string literal; JSON's escapes are among Python's."""
    return json.dumps(text, ensure_ascii=False)
