"""Adapters in one batch give what PEFT gives for each alone, and unusable files are refused."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import GPT2Config, GPT2LMHeadModel

from tests.workers.engine_jobs import tiny_model, tiny_tokenizer
from tests.workers.serve.adapter_files import save_adapter
from workers.contract.spec import BaseModelRef
from workers.engine.base_model.models import Base
from workers.serve.adapters import Adapter, Adapters, read_adapter
from workers.serve.batching import Batcher
from workers.serve.detokenizer import Detokenizer
from workers.serve.errors import ApiError
from workers.serve.rows import Group, Row, Settings
from workers.serve.runners import Runner, build_runner
from workers.serve.runners.fast import FastRunner
from workers.serve.runners.plain import PlainRunner

PROMPTS = [[4, 5, 6], [7, 8], [9, 10, 11, 12, 13], [5, 5, 5, 5]]
TOLERANCE = 1e-4


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 19, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)).eval()


SHAPES: dict[str, list[dict[str, Any]]] = {
    "qwen3": [
        {"r": 8, "target_modules": "all-linear"},
        {"r": 4, "target_modules": ["q_proj", "down_proj"], "use_rslora": True},
        {"r": 2, "target_modules": ["v_proj"], "layers_to_transform": [1]},
    ],
    "gpt2": [
        {"r": 8, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
        {"r": 4, "target_modules": ["c_fc"], "fan_in_fan_out": True, "use_rslora": True},
        {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True},
    ],
}
MODELS: dict[str, Callable[[], Any]] = {"qwen3": tiny_model, "gpt2": gpt2}
KINDS = {"qwen3": FastRunner, "gpt2": PlainRunner}


def build_base(model: Any) -> Base:
    return Base(BaseModelRef(id="tests/tiny"), Path(), None, model, tiny_tokenizer(), [1, 2])


def build_group(
    prompt: list[int], adapter: Adapter | None, seed: int, rows: int = 1, **options: Any
) -> Group:
    base = build_base(tiny_model())
    settings = Settings(**{"limit": 8, "scores": True, **options})
    return Group(
        prompt,
        [
            Row(settings, random.Random(f"{seed}/{row}"), Detokenizer(base.renderer, live=False), frozenset())
            for row in range(rows)
        ],
        adapter,
    )


def generate(runner: Runner, groups: list[Group], delay: int = 0) -> list[Row]:
    """Generate groups; each is submitted so many steps after the one before."""
    batcher, rows = Batcher(runner), [row for group in groups for row in group.rows]
    for group in groups:
        batcher.submit(group)
        for _ in range(delay):
            batcher.run_step()
    while not all(row.future.done() for row in rows):
        batcher.run_step()
    for row in rows:
        row.future.result()
    return rows


def score_with_peft(model: Any, folder: Path | None, prompt: list[int], ids: list[int]) -> list[float]:
    tuned = PeftModel.from_pretrained(model, folder) if folder else model
    with torch.no_grad():
        logits = tuned.eval()(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    scores = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    if folder:
        tuned.unload()
    return [float(score) for score in scores]


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("delay", [0, 3])
def test_a_batch_of_the_base_and_several_adapters_gives_what_peft_gives(
    tmp_path: Path, family: str, delay: int
) -> None:
    build = MODELS[family]
    folders = [
        save_adapter(build(), tmp_path / str(number), number, **shape)
        for number, shape in enumerate(SHAPES[family])
    ]
    runner = build_runner(build())
    assert isinstance(runner, KINDS[family])
    adapters = [read_adapter(str(folder), folder, runner.shapes) for folder in folders]
    owners: list[Adapter | None] = [None, *adapters, adapters[0], None]
    groups = [
        build_group(PROMPTS[number % 4], owner, number, rows=1 + number % 2, limit=4 + number)
        for number, owner in enumerate(owners)
    ]
    prompts = [(group.prompt, group.adapter) for group in groups for _ in group.rows]
    rows = generate(runner, groups, delay)
    for row, (prompt, adapter) in zip(rows, prompts, strict=True):
        folder = folders[adapters.index(adapter)] if adapter else None
        expected = score_with_peft(build(), folder, prompt, row.ids)
        assert [score.model for score in row.scores] == pytest.approx(expected, abs=TOLERANCE)


def test_a_seeded_row_is_the_same_alone_and_beside_other_adapters(tmp_path: Path) -> None:
    folders = [save_adapter(tiny_model(), tmp_path / str(n), n, **SHAPES["qwen3"][n]) for n in range(3)]
    runner = build_runner(tiny_model())
    adapters = [None, *(read_adapter(str(folder), folder, runner.shapes) for folder in folders)]
    together = generate(
        runner, [build_group(PROMPTS[n % 4], adapters[n % 4], n, limit=12) for n in range(12)], delay=1
    )
    for number, row in enumerate(together):
        (alone,) = generate(
            runner, [build_group(PROMPTS[number % 4], adapters[number % 4], number, limit=12)]
        )
        assert row.ids == alone.ids


# --- files -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_adapter(tiny_model(), tmp_path / "adapter", 0, **SHAPES["qwen3"][0])


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))


def cut(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def break_number(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\x7f")


def refuse(adapters: Adapters, folder: Path, name: str = "tuned") -> ApiError:
    with pytest.raises(ApiError) as caught:
        adapters.load(name, folder)
    return caught.value


def registry(most: int = 2) -> Adapters:
    return Adapters(build_runner(tiny_model()).shapes, "base", most)


@pytest.mark.parametrize(
    ("spoil", "status", "reason"),
    [
        (shutil.rmtree, 404, "not the folder of an adapter"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), 404, "adapter_model.safetensors"),
        (cut, 400, "not a complete safetensors file"),
        (break_number, 400, "not all finite"),
        (lambda folder: change_config(folder, r=4), 400, "with r 4"),
        (lambda folder: change_config(folder, use_dora=True), 400, "use_dora"),
        (lambda folder: change_config(folder, target_modules=["q_proj"]), 400, "no target"),
    ],
)
def test_a_broken_adapter_is_refused_with_the_reason(
    folder: Path, spoil: Callable[[Path], Any], status: int, reason: str
) -> None:
    spoil(folder)
    error = refuse(registry(), folder)
    assert error.status == status
    assert reason in str(error)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    other = save_adapter(gpt2(), tmp_path / "other", 0, **SHAPES["gpt2"][0])
    assert "Load an adapter that was trained on this base" in str(refuse(registry(), other))


def test_the_hash_is_that_of_the_weights_file(folder: Path) -> None:
    content = (folder / "adapter_model.safetensors").read_bytes()
    assert registry().load("tuned", folder).sha256 == hashlib.sha256(content).hexdigest()


def test_a_name_is_loaded_once_unless_in_place(folder: Path) -> None:
    adapters = registry()
    first = adapters.load("tuned", folder)
    assert refuse(adapters, folder).status == 400
    assert refuse(adapters, folder, "base").status == 400
    assert adapters.load("tuned", folder, in_place=True) is not first


def test_the_least_recently_used_adapter_leaves(folder: Path) -> None:
    adapters = registry(most=2)
    for name in ("a", "b"):
        adapters.load(name, folder)
    adapters.find("a")
    adapters.load("c", folder)
    assert [adapter.name for adapter in adapters.list()] == ["a", "c"]
