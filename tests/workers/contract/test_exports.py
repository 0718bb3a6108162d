"""The commands that serve an export mean what they say in a shell, whatever the model's name is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.exports import GGUF, GGUF_ADAPTER, KINDS, MERGED, read_base

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)


@given(TEXT, TEXT)
def test_any_name_and_folder_stay_one_word_of_the_command(name: str, folder: str) -> None:
    for kind in KINDS.values():
        for command in kind.format_commands(name, folder):
            words = shlex.split(command)
            assert folder in words or f"./{folder}" in words
            if "--served-model-name" in command:
                assert words[words.index("--served-model-name") + 1] == name


def test_commands_without_a_folder_run_in_it() -> None:
    assert MERGED.format_commands("ours") == ["vllm serve . --served-model-name ours"]
    assert GGUF.format_commands("ours")[0] == "llama-server -m model.gguf"
    assert GGUF.format_commands("ours", "a b")[0] == "cd 'a b' && llama-server -m model.gguf"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_no_format_takes_a_quantised_base(kind: type) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "awq"}}
    assert "quantised" in (kind.find_refusal(config, None) or "")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [GGUF, GGUF_ADAPTER], ids=lambda kind: kind.id)
def test_gguf_names_the_architectures_that_it_can_write(kind: type) -> None:
    refusal = kind.find_refusal({"architectures": ["MambaForCausalLM"]}, None)  # type: ignore[attr-defined]
    assert "MambaForCausalLM" in refusal
    assert "LlamaForCausalLM" in refusal
    assert MERGED.find_refusal({"architectures": ["MambaForCausalLM"]}, None) is None


def test_a_folder_s_tokenizer_is_read_if_it_has_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert read_base(tmp_path) == ({"a": 1}, None)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"b": 2}))
    assert read_base(tmp_path) == ({"a": 1}, {"b": 2})
