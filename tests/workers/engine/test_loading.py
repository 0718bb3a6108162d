"""Foreign base models: no code of theirs runs, and what cannot be loaded is refused with a remedy."""

from __future__ import annotations

import json
import shutil
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from tests.workers.engine_jobs import tiny_tokenizer
from workers.contract.base_models import arguments as base_arguments
from workers.contract.base_models import folder_check
from workers.contract.base_models.sources import SOURCES
from workers.contract.spec import BaseModelRef
from workers.engine.base_model import inspection, loading, models, sources
from workers.engine.base_model.inspection import inspect
from workers.engine.errors import EngineError
from workers.engine.prompts.deadline import TooSlow, deadline

CPU = torch.device("cpu")


def load(folder: Path) -> models.Base:
    return models.load(BaseModelRef(id="acme/base", path=str(folder)), folder, CPU)


def edit(folder: Path, name: str, **changes: object) -> None:
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))


def pickle(folder: Path) -> None:
    torch.save(
        models.load(BaseModelRef(id="x", path=str(folder)), folder, CPU).model.state_dict(), folder / "w"
    )
    (folder / "model.safetensors").unlink()
    (folder / "w").rename(folder / "pytorch_model.bin")


def cut(folder: Path, name: str = "model.safetensors") -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def only(folder: Path, *names: str) -> None:
    for path in list(folder.iterdir()):
        path.unlink()
    for name in names:
        (folder / name).write_text("{}")


def sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"x")
    edit(folder, "tokenizer_config.json", tokenizer_class="T5Tokenizer")


PROBLEMS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "pickled": (pickle, "weights_pickled", "GROOVE_ALLOW_PICKLED_WEIGHTS"),
    "cut off": (cut, "file_damaged", "model.safetensors"),
    "config cut off": (lambda f: cut(f, "config.json"), "file_damaged", "config.json"),
    "a shard missing": (shard, "weights_missing", "model-00002-of-00002.safetensors"),
    "adapter": (
        lambda f: only(f, "adapter_config.json", "adapter_model.safetensors"), "base_is_adapter", "adapter",
    ),
    "gguf": (lambda f: only(f, "model-Q4.gguf"), "gguf_only", "GGUF"),
    "empty": (lambda f: only(f), "config_missing", "config.json"),
    "torch's own": (lambda f: only(f, "config.json", "a.00.pth"), "weights_missing", "a.00.pth"),
    "consolidated": (
        lambda f: (f / "model.safetensors").rename(f / "consolidated.safetensors") and None,
        "weights_missing", "consolidated.safetensors",
    ),
    "pointer": (
        lambda f: (f / "model.safetensors").write_bytes(folder_check.LFS_POINTER + b"/spec/v1\n") and None,
        "file_is_pointer", "git lfs pull",
    ),
    "quantised": (
        lambda f: edit(f, "config.json", quantization_config={"quant_method": "bitsandbytes"}),
        "weights_quantised", "bitsandbytes",
    ),
    "no tokenizer": (
        lambda f: [p.unlink() for p in f.glob("tokenizer*")] and None, "tokenizer_missing", "tokenizer.json",
    ),
    "sentencepiece": (sentencepiece, "package_missing", "pip install sentencepiece"),
    "unknown": (
        lambda f: edit(f, "config.json", model_type="flux9"), "unknown_architecture", "transformers",
    ),
    "own code": (
        lambda f: edit(
            f, "config.json", model_type="own", auto_map={"AutoConfig": "own.C"}
        ),
        "custom_code", "never",
    ),
    "encoder": (lambda f: edit(f, "config.json", model_type="vit"), "model_unusable", "not a causal"),
    "other sizes": (lambda f: edit(f, "config.json", hidden_size=64), "model_unusable", "acme/base"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_loaded_is_refused_with_cause_and_remedy(
    model_folder: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, code, said = PROBLEMS[case]
    folder = shutil.copytree(model_folder, tmp_path / "base")
    damage(folder)
    monkeypatch.setattr(folder_check, "_is_installed", lambda module: module != "sentencepiece")
    with pytest.raises(EngineError) as caught:
        load(folder)
    error = caught.value
    assert error.code == code, (error.message, error.detail)
    assert said in f"{error.message} {error.remedy}"
    assert error.remedy
    assert "bug in Groove" not in error.remedy


def test_pickled_weights_are_loaded_if_the_operator_allows_it(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "base")
    before = load(folder).model.state_dict()
    pickle(folder)
    monkeypatch.setenv(loading.ALLOW_PICKLED, "1")
    after = load(folder).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_config_chooses_neither_kernels_nor_code(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "base")
    edit(
        folder,
        "config.json",
        _attn_implementation="kernels-community/flash-attn",
        attn_implementation="kernels-community/flash-attn",
        _experts_implementation="kernels-community/experts",
        auto_map={"AutoModelForCausalLM": "evil.Model"},
    )
    assert load(folder).model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro again() %}{% for a in range(9) %}{{ again() }}{% endfor %}{% endmacro %}{{ again() }}",
    ],
)
def test_a_chat_template_that_does_not_end_is_broken_off(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    monkeypatch.setattr(loading, "TEMPLATE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises((TooSlow, RecursionError)):
        load(folder).tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert time.monotonic() - began < 20


def test_a_deadline_ends_nothing_that_comes_after_it() -> None:
    for _ in range(50):
        with suppress(TooSlow), deadline(0.001):
            time.sleep(0.001)
    time.sleep(0.05)
    with pytest.raises(ValueError, match="own"), deadline(5):
        raise ValueError("own")


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_outside_the_operators_roots_is_refused(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/link").symlink_to(model_folder)
    monkeypatch.setenv(loading.ROOTS, str(tmp_path / "models"))
    with pytest.raises(EngineError) as caught:
        load(tmp_path / "models/link" if linked else model_folder)
    assert caught.value.code == "base_outside_roots"
    assert loading.ROOTS in caught.value.remedy
    shutil.copytree(model_folder, tmp_path / "models/own")
    assert load(tmp_path / "models/own").eos_ids == [1, 2]


def test_every_kind_of_source_has_a_fetcher() -> None:
    assert sources.FETCHERS.keys() == {source.kind for source in SOURCES}


@pytest.mark.parametrize(
    "ref",
    [
        BaseModelRef(id="acme/base", revision="v1"),
        BaseModelRef(id="own", path="/models/own", chat_template="{{ x }}", template_arguments={"a": 1}),
    ],
)
def test_a_base_model_comes_over_a_command_line_as_it_is(ref: BaseModelRef, tmp_path: Path) -> None:
    arguments = base_arguments.write_arguments(ref, tmp_path / "rendering.json")
    assert base_arguments.read_ref(base_parser().parse_args(arguments)) == ref


def test_a_folder_may_stand_for_a_base_model_and_gives_it_its_name(model_folder: Path) -> None:
    ref = base_arguments.read_ref(base_parser().parse_args(["--model", str(model_folder)]))
    assert ref == BaseModelRef(id=model_folder.name, path=str(model_folder.resolve()))


def base_parser() -> ArgumentParser:
    parser = ArgumentParser()
    base_arguments.add_arguments(parser)
    base_arguments.add_rendering(parser)
    return parser


def test_nothing_is_fetched_twice_or_in_a_format_that_is_not_loaded() -> None:
    there = [
        "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
        "consolidated.safetensors", "original/consolidated.00.pth", "original/params.json",
        "pytorch_model.bin",
        "model-Q4.gguf", "onnx/model.safetensors", "tf_model.h5", "chat_template.jinja", "merges.txt",
    ]  # fmt: skip
    fetched = filter_repo_objects(
        there, allow_patterns=sources.MODEL_FILES, ignore_patterns=sources.NOT_FETCHED
    )
    assert sorted(fetched) == [
        "chat_template.jinja", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json",
    ]  # fmt: skip


# --- inspection: the same, without the weights -----------------------------------------------------------


def test_an_inspection_tells_what_a_model_is(model_folder: Path) -> None:
    report = inspect(BaseModelRef(id="acme/base", path=str(model_folder)), Path())
    assert report["problem"] is None
    facts = report["facts"]
    assert facts["class"] == "Qwen3ForCausalLM"
    assert facts["parameters"] == sum(each.numel() for each in load(model_folder).model.parameters())
    assert (facts["context"], facts["tied"], facts["path"], facts["system_role"]) == (
        128,
        False,
        "fast",
        True,
    )


@pytest.mark.parametrize("case", sorted(PROBLEMS.keys() - {"other sizes"}))
def test_an_inspection_finds_what_loading_would(
    model_folder: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, code, _ = PROBLEMS[case]
    folder = shutil.copytree(model_folder, tmp_path / "base")
    damage(folder)
    monkeypatch.setattr(folder_check, "_is_installed", lambda module: module != "sentencepiece")
    problem = inspect(BaseModelRef(id="acme/base", path=str(folder)), Path())["problem"]
    assert problem["code"] == code
    assert problem["remedy"]


def test_an_inspection_of_a_hub_model_needs_no_weights(model_folder: Path, tmp_path: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in model_folder.iterdir()}
    folder = shutil.copytree(model_folder, tmp_path / "texts", ignore=shutil.ignore_patterns("*.safetensors"))
    assert inspection._find_problem(folder, sizes) is None
    listed = {name: size for name, size in sizes.items() if not name.endswith(".safetensors")}
    assert inspection._find_problem(folder, listed).code == "weights_missing"  # type: ignore[union-attr]
    found = inspection._find_problem(folder, listed | {"pytorch_model.bin": 9})
    assert found is not None
    assert found.code == "weights_pickled"


def test_an_endless_template_is_a_problem_and_not_an_endless_inspection(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "base")
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(endless)
    monkeypatch.setattr(loading, "TEMPLATE_SECONDS", 0.5)
    problem = inspect(BaseModelRef(id="acme/base", path=str(folder)), Path())["problem"]
    assert problem["code"] == "chat_template_failed"
    assert "0.5 s" in problem["detail"]
