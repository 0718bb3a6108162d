"""A model is offered as GGUF only if its readers would compute the same."""

from __future__ import annotations

from typing import Any

import pytest

from workers.contract.base_models.gguf import (
    ARCHITECTURES,
    CONTRACTIONS,
    SPLIT,
    find_adapter_refusal,
    find_model_refusal,
    pre_type,
    rope_parameters,
)

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
BYTES = {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False}


def split_by(pattern: str, **changes: Any) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step | changes, BYTES]}


def tokenizer(pre: dict[str, Any] | None, normalizer: Any = None, **model: Any) -> dict[str, Any]:
    return {"model": {"type": "BPE"} | model, "normalizer": normalizer, "pre_tokenizer": pre}


QWEN = tokenizer(split_by(SPLIT % r"\p{N}"), {"type": "NFC"})


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (QWEN, "qwen2"),
        (tokenizer(split_by(SPLIT % r"\p{N}{1,3}"), ignore_merges=True), "llama-bpe"),
        (tokenizer(split_by(SPLIT % r"\p{N}{1,3}")), None),
        (tokenizer(split_by(SPLIT % r"\p{N}"), ignore_merges=True), None),
        (tokenizer(split_by(CONTRACTIONS)), None),
        (tokenizer(split_by(SPLIT % r"\p{N}", invert=True)), None),
        (tokenizer(split_by(SPLIT % r"\p{N}", behavior="Removed")), None),
        (tokenizer({"type": "ByteLevel"}), "gpt-2"),
        (tokenizer({"type": "ByteLevel", "add_prefix_space": True}), None),
        (tokenizer({"type": "ByteLevel", "use_regex": False}), None),
        (tokenizer({"type": "Metaspace"}), None),
        (tokenizer(None), None),
        (tokenizer({"type": "ByteLevel"}, {"type": "NFKC"}), None),
        (tokenizer({"type": "ByteLevel"}, byte_fallback=True), None),
        (tokenizer({"type": "ByteLevel"}, type="WordPiece"), None),
    ],
)
def test_a_splitting_has_llama_cpps_name_only_if_it_is_the_same(
    given: dict[str, Any], name: str | None
) -> None:
    assert pre_type(given) == name


def test_smollms_digits_are_split_one_by_one() -> None:
    steps = [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "use_regex": True}]
    assert pre_type(tokenizer({"type": "Sequence", "pretokenizers": steps})) == "smollm"
    steps[0]["individual_digits"] = False
    assert pre_type(tokenizer({"type": "Sequence", "pretokenizers": steps})) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"architectures": []}, "unknown"),
        ({"architectures": ["Gemma3ForCausalLM"]}, "Export the adapter as GGUF"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, ""),
        ({"attention_bias": True}, "biases"),
        ({"mlp_bias": True}, "biases"),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "attention_bias": True}, ""),
        ({"use_sliding_window": True}, "sliding window"),
    ],
)
def test_a_model_that_readers_would_compute_otherwise_is_refused_with_the_reason(
    changes: dict[str, Any], words: str
) -> None:
    refusal = find_model_refusal(LLAMA | changes, QWEN)
    if words:
        assert refusal is not None
        assert words in refusal
    else:
        assert refusal is None


def test_a_tokenizer_is_needed_for_a_model_and_not_for_an_adapter() -> None:
    assert "tokenizer.json" in (find_model_refusal(LLAMA, None) or "")
    assert find_adapter_refusal(LLAMA, None) is None
    unknown = tokenizer({"type": "Metaspace"})
    for refusal in (find_model_refusal(LLAMA, unknown), find_adapter_refusal(LLAMA, unknown)):
        assert "Export merged safetensors instead" in (refusal or "")
    assert find_adapter_refusal(LLAMA | {"architectures": ["Gemma3ForCausalLM"]}, unknown) is None
    assert all(find_adapter_refusal({"architectures": [name]}, QWEN) is None for name in ARCHITECTURES)


@pytest.mark.parametrize(
    ("config", "theta", "kind"),
    [
        ({}, 10000.0, "default"),
        ({"rope_theta": 5e5}, 5e5, "default"),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear"}}, 5e5, "linear"),
        ({"rope_scaling": {"rope_type": "llama3", "type": "old"}}, 10000.0, "llama3"),
        ({"rope_theta": 1.0, "rope_parameters": {"rope_theta": 2.0, "rope_type": "yarn"}}, 2.0, "yarn"),
    ],
)
def test_both_generations_of_configs_have_the_same_rotary_settings(
    config: dict[str, Any], theta: float, kind: str
) -> None:
    found = rope_parameters(config)
    assert (found["rope_theta"], found["rope_type"]) == (theta, kind)
