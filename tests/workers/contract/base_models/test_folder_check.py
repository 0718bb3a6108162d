"""A folder that cannot be a base model is refused by its files alone, with the reason and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from workers.contract.base_models.folder_check import (
    INDEX,
    LFS_POINTER,
    QUANTISERS,
    find_missing,
    find_problem,
    package_missing,
    weight_files,
)

CONFIG = {"architectures": ["LlamaForCausalLM"]}
DEEP = '{"a":' * 100_000


def fill(folder: Path) -> Path:
    """Write a folder without a problem."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


def code_of(folder: Path, pickled: bool = False) -> str:
    problem = find_problem(folder, pickled)
    assert problem is None or problem.remedy
    return problem.code if problem else ""


def test_a_complete_folder_has_no_problem(folder: Path) -> None:
    assert code_of(folder) == ""


def set_config(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | changes))


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(
        content.encode() if isinstance(content, str) else content
    )


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        (remove("config.json"), "config_missing", "config.json"),
        (remove("model.safetensors"), "weights_missing", "no weights in safetensors"),
        (remove("tokenizer.json"), "tokenizer_missing", "tokenizer"),
        (write("config.json", "[]"), "file_damaged", "not a JSON object"),
        (write("config.json", '{"a": '), "file_damaged", "config.json"),
        (write("config.json", b"\xff\xfe"), "file_damaged", "config.json"),
        (write("config.json", DEEP), "file_damaged", "config.json"),
        (write("config.json", LFS_POINTER), "file_is_pointer", "config.json"),
        (write("model.safetensors", LFS_POINTER + b"/spec/v1"), "file_is_pointer", "model.safetensors"),
        (write("tokenizer.json", LFS_POINTER), "file_is_pointer", "tokenizer.json"),
        (write("model.safetensors", b"abc"), "file_damaged", "3 bytes"),
        (write(INDEX, "{}"), "file_damaged", INDEX),
        (write(INDEX, DEEP), "file_damaged", INDEX),
        (write(INDEX, '{"weight_map": {"a": "one.safetensors"}}'), "weights_missing", "1 of 1"),
        (write(INDEX, '{"weight_map": {"a": 1, "b": "x"}}'), "file_damaged", INDEX),
        (set_config(quantization_config={"quant_method": "awq"}), "weights_quantised", "gptqmodel"),
        (set_config(quantization_config={}), "weights_quantised", "an unnamed method"),
    ],
)
def test_a_harmed_folder_is_told_what_is_wrong(
    folder: Path, harm: Callable[[Path], object], code: str, words: str
) -> None:
    harm(folder)
    problem = find_problem(folder)
    assert problem is not None
    assert (problem.code, words in problem.message) == (code, True), problem


@pytest.mark.parametrize(
    ("names", "pickled", "code"),
    [
        ({"adapter_config.json", "adapter_model.safetensors"}, False, "base_is_adapter"),
        ({"adapter_config.json", "config.json", "model.safetensors"}, False, ""),
        ({"model-q4.gguf", "README.md"}, False, "gguf_only"),
        ({"config.json", "pytorch_model.bin"}, False, "weights_pickled"),
        ({"config.json", "pytorch_model-00001-of-00002.bin"}, True, ""),
        ({"config.json", "consolidated.safetensors"}, False, "weights_missing"),
        ({"config.json", "tf_model.h5"}, True, "weights_missing"),
        ({"config.json", "model-00001-of-00002.safetensors"}, False, ""),
        (set(), False, "config_missing"),
    ],
)
def test_the_names_of_the_files_tell_what_is_missing(names: set[str], pickled: bool, code: str) -> None:
    problem = find_missing(names, pickled)
    assert (problem.code if problem else "") == code


def test_another_format_is_named() -> None:
    problem = find_missing({"config.json", "flax_model.msgpack"})
    assert problem is not None
    assert "flax_model.msgpack has another format" in problem.message


@given(st.data())
def test_a_file_that_was_cut_off_anywhere_is_damaged(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        path = fill(Path(name)) / "model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert code_of(Path(name)) == "file_damaged"


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=3),
    lambda each: st.lists(each, max_size=3),
    max_leaves=4,
)
HEADERS = st.dictionaries(
    st.sampled_from(["a", "__metadata__"]), JSON | st.fixed_dictionaries({"data_offsets": JSON}), max_size=2
)


@given(HEADERS | JSON)
def test_any_header_is_read_or_called_damaged(header: object) -> None:
    """Files come from anywhere: whatever a header holds, a person gets a reason."""
    content = json.dumps(header).encode()
    with TemporaryDirectory() as name:
        path = fill(Path(name)) / "model.safetensors"
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        assert code_of(Path(name)) in ("", "file_damaged")


def test_a_header_nested_without_end_is_damaged(folder: Path) -> None:
    content = DEEP.encode()
    (folder / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)
    assert code_of(folder) == "file_damaged"


def test_the_second_copy_of_the_weights_is_not_loaded(folder: Path) -> None:
    (folder / "consolidated.safetensors").write_bytes(b"x")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert [path.name for path in weight_files(folder, pickled=True)] == ["model.safetensors"]
    (folder / "model.safetensors").unlink()
    assert [path.name for path in weight_files(folder, pickled=True)] == ["pytorch_model.bin"]
    assert weight_files(folder) == []


def test_a_missing_package_is_named_as_pip_knows_it() -> None:
    problem = package_missing("google.protobuf", "The tokenizer (tokenizer.model)")
    assert "pip install protobuf" in problem.remedy
    assert {"gptq", "awq", "mxfp4"} <= QUANTISERS.keys()
