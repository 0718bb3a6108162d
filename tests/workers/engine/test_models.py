"""Models of other families, and adapters of other shapes: tuned right, or refused in plain words."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl.trainer.utils import add_fused_lm_head

from tests.models import table
from tests.models.families import FAMILIES, build
from tests.models.trial import try_family
from tests.workers.engine.test_exports import STARTER, export, known_tokenizer
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec, tiny_tokenizer
from workers.contract import memory
from workers.contract.spec import BaseModelRef
from workers.engine.base_model.loading import turn_off_dropout
from workers.engine.base_model.models import load, weights_sha256
from workers.engine.base_model.targets import find_layers
from workers.engine.memory import shape_of
from workers.engine.packaging.verify import completion_logprobs
from workers.engine.sampling import scoring
from workers.engine.sampling.batches import Sampler

BEHIND = "base_model.model."


def adapter(base: Path, folder: Path, **changes: Any) -> Path:
    """An adapter of rank 4 and alpha 8 as PEFT saves it, whose B is not zero."""
    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    config = LoraConfig(**settings | {"init_lora_weights": False} | changes)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(
        folder, save_embedding_layers=False
    )
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | {"init_lora_weights": True}))
    return folder


def continued(tmp_path: Path, base: Path, start: Path, targets: str) -> tuple[int, list[Any]]:
    """Run a job of two steps from the adapter in ``start``; return its exit status and events."""
    spec = small_spec(tmp_path, base)
    sha256 = hashlib.sha256((start / "adapter_model.safetensors").read_bytes()).hexdigest()
    spec["initial_adapter"] = {"id": "first", "path": str(start), "sha256": sha256}
    spec["lora"]["targets"] = targets
    spec["grpo"] |= {"max_steps": 2, "checkpoint_every": 2}
    spec["evaluation"] |= {"every": 0}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    status = run_engine("run", tmp_path / "spec.json", "--out", tmp_path / "out")
    return status, events_of(tmp_path / "out")


def recorded(family: str) -> dict[str, Any]:
    """Return the results of the table's script for the family, without exports."""
    return {name: value for name, value in table.results()[family].items() if name != "exports"}


def test_the_page_has_the_table_of_what_was_recorded() -> None:
    """``python -m tests.models`` tries all families again; a few are tried by the tests below."""
    assert table.written() == table.text()
    found = table.results()
    assert list(found) == list(FAMILIES)
    assert sum(each.get("path") in {"fast", "plain"} for each in found.values()) >= 50
    assert "unexpected" not in {each.get("code") for each in found.values()}


# --- mixtures of experts -----------------------------------------------------------------------------


def test_a_mixture_is_tuned_and_log_and_card_say_that_its_experts_stay_frozen(tmp_path: Path) -> None:
    found = try_family("qwen3_moe", tmp_path / "moe", exports=False)
    assert found["targets"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert "the experts (down_proj, gate_up_proj)" in found["frozen"]
    card = (tmp_path / "moe/out/package/README.md").read_text()
    assert found["frozen"] in card
    assert found == recorded("qwen3_moe")
    assert "76%" in found["frozen"]  # 24,576 of 32,416 numbers are experts'


@pytest.mark.parametrize("family", ["phimoe", "qwen2_moe", "hunyuan_v1_moe", "jetmoe"])
def test_routers_are_no_target_of_all_linear(family: str, tmp_path: Path) -> None:
    build(family, tmp_path)
    found = find_layers(AutoModelForCausalLM.from_pretrained(tmp_path), "all-linear")
    assert found
    assert not [name for name in found if {"gate", "router", "wg", "shared_expert_gate"} & {*name.split(".")}]


# --- adapters on tied heads --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen3 with tied embeddings and a tokenizer that GGUF can hold."""
    folder = tmp_path_factory.mktemp("tied")
    build("qwen3", folder)
    config = AutoConfig.from_pretrained(folder, tie_word_embeddings=True, vocab_size=1078)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(STARTER).save_pretrained(folder)
    known_tokenizer(folder)
    return folder


@pytest.mark.parametrize("kind", ["merged", "gguf"])
@pytest.mark.parametrize(
    "changes",
    [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}],
    ids=["lora", "saved"],
)
def test_an_adapter_on_a_tied_head_is_merged_into_the_head_alone(
    tied: Path, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    package = adapter(tied, tmp_path / "adapter", **changes)
    if "modules_to_save" in changes:
        content = load_file(package / "adapter_model.safetensors")
        content[f"{BEHIND}lm_head.weight"] += torch.randn_like(content[f"{BEHIND}lm_head.weight"])
        save_file(content, package / "adapter_model.safetensors", metadata={"format": "pt"})
    assert export(package, tied, kind, tmp_path) == 0, of_type(events_of(tmp_path), "error")
    gguf = {"gguf_file": "model.gguf", "head_dim": 16} if kind == "gguf" else {}
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32, **gguf)
    assert not again.config.tie_word_embeddings
    untouched = AutoModelForCausalLM.from_pretrained(tied, dtype=torch.float32)
    assert torch.equal(again.get_input_embeddings().weight, untouched.get_input_embeddings().weight)
    peft = PeftModel.from_pretrained(untouched, package).eval()
    prompt, answer = [5, 9, 20], [30, 7, 11, 40]
    own = completion_logprobs(peft, prompt, answer, 1.0)
    assert torch.allclose(completion_logprobs(again.eval(), prompt, answer, 1.0), own, atol=1e-4)


def test_a_gguf_adapter_on_a_head_is_refused_by_its_name(tied: Path, tmp_path: Path) -> None:
    package = adapter(tied, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    assert export(package, tied, "gguf-adapter", tmp_path) == 1
    error = of_type(events_of(tmp_path), "error")[0]
    assert error.code == "export_refused"
    assert "lm_head" in error.message


def test_training_does_not_continue_an_adapter_on_a_tied_head(tmp_path: Path) -> None:
    base = tmp_path / "base"
    build("ernie4_5", base)
    start = adapter(base, tmp_path / "start", target_modules=["q_proj", "lm_head"])
    status, events = continued(tmp_path, base, start, r"(.*\.)?(lm_head|q_proj)")
    error = of_type(events, "error")[0]
    assert (status, error.code) == (1, "initial_adapter_unusable")
    assert "changes lm_head, the model's head" in error.message
    assert "tied embeddings" in error.message


@pytest.mark.parametrize(
    ("targets", "code", "said"),
    [(r".*lm_head", "head_adapted", "lm_head"), (r".*\.queries", "no_layer_matches", "q_proj")],
)
def test_targets_that_cannot_be_trained_are_refused(
    model_folder: Path, tmp_path: Path, targets: str, code: str, said: str
) -> None:
    spec = small_spec(tmp_path, model_folder)
    spec["lora"]["targets"] = targets
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", tmp_path / "spec.json", "--out", tmp_path / "out") == 1
    error = of_type(events_of(tmp_path / "out"), "error")[0]
    assert error.code == code
    assert said in error.message + error.remedy


# --- adapters of other shapes ------------------------------------------------------------------------


def test_an_adapter_of_some_layers_is_continued_on_these(model_folder: Path, tmp_path: Path) -> None:
    some = {"layers_to_transform": [1], "exclude_modules": r".*\.v_proj"}
    start = adapter(model_folder, tmp_path / "start", **some)
    status, events = continued(tmp_path, model_folder, start, r"(.*\.)?(q_proj|v_proj)")
    assert status == 0, of_type(events, "error")
    names = load_file(tmp_path / "out/package/adapter_model.safetensors").keys()
    assert names == load_file(start / "adapter_model.safetensors").keys()
    assert all(".layers.1.self_attn.q_proj." in name for name in names)
    assert max(step.values["sampling/logp_gap"] for step in of_type(events, "metrics")) < 1e-4


@pytest.mark.parametrize(
    "changes",
    [{"rank_pattern": {"q_proj": 2}}, {"alpha_pattern": {"q_proj": 4}}, {"modules_to_save": ["lm_head"]}],
    ids=["rank_pattern", "alpha_pattern", "modules_to_save"],
)
def test_an_adapter_that_is_not_one_a_and_one_b_a_layer_is_exported_and_not_continued(
    model_folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    start = adapter(model_folder, tmp_path / "start", **changes)
    status, events = continued(tmp_path, model_folder, start, r"(.*\.)?(q_proj|v_proj)")
    error = of_type(events, "error")[0]
    assert (status, error.code) == (1, "initial_adapter_unusable")
    assert next(iter(changes)) in error.message
    assert export(start, model_folder, "merged", tmp_path / "merged") == 0
    assert export(start, model_folder, "gguf-adapter", tmp_path / "gguf") == 1
    assert of_type(events_of(tmp_path / "gguf"), "error")[0].code == "export_refused"


# --- GPT-2 and others that are not Llama's kin -------------------------------------------------------


def test_gpt_2_is_counted_and_trained_in_its_own_words(tmp_path: Path) -> None:
    found = try_family("gpt2", tmp_path / "gpt2", exports=False)
    assert found == recorded("gpt2")
    assert found["targets"] == ["c_attn", "c_fc", "c_proj"]
    config = json.loads((tmp_path / "gpt2/out/package/adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True
    shape = shape_of(AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2/base"))
    assert (shape.layers, shape.hidden, shape.intermediate) == (2, 32, 128)
    assert shape.adapted == 2 * (32 + 96 + 32 + 32 + 32 + 128 + 128 + 32)
    raw = json.loads((tmp_path / "gpt2/base/config.json").read_text())
    assert memory.shape(type("Raw", (), raw), 4, 1).intermediate == 128


def test_a_row_longer_than_n_positions_is_refused(tmp_path: Path) -> None:
    build("gpt2", tmp_path / "base")
    spec = small_spec(tmp_path, tmp_path / "base")
    spec["grpo"]["max_completion_length"] = 200
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", tmp_path / "spec.json", "--out", tmp_path / "out") == 1
    error = of_type(events_of(tmp_path / "out"), "error")[0]
    assert error.code == "context_too_short"
    assert "context has 128" in error.message


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "bloom", "rwkv"])
def test_padding_moves_no_position(family: str, tmp_path: Path) -> None:
    """Left padding as TRL's alone shifts GPT-2's positions: its log-probabilities are off by more than 1."""
    build(family, tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    turn_off_dropout(config)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, config=config, dtype=torch.float32).eval()
    short, long, answers = [5, 6], [8, 9, 10, 11, 12, 13, 5], [[7, 9, 4], [6, 11]]
    own = [completion_logprobs(model, p, a, 1.0) for p, a in zip((short, long), answers, strict=True)]
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids = torch.tensor([[0] * 5 + short + answers[0], long + answers[1] + [0]])
    mask = torch.tensor([[0] * 5 + [1] * 5, [1] * 9 + [0]])
    with torch.no_grad():
        logps, entropies = scoring.per_token(model, ids, mask, 3)
    assert torch.allclose(logps[0], own[0], atol=1e-4)
    assert torch.allclose(logps[1, :2], own[1], atol=1e-4)
    assert float(logps[1, 2]) == float(entropies[1, 2]) == 0.0
    assert (entropies[mask[:, -3:].bool()] > 0).all()


def test_a_model_whose_sampling_is_not_its_own_policy_is_refused(tmp_path: Path) -> None:
    found = try_family("rwkv", tmp_path / "rwkv", exports=False)
    assert found["code"] == recorded("rwkv")["code"]
    assert found["code"] == "sampling_disagrees"
    assert "rwkv" in found["refused"]


# --- tokenizers and weights --------------------------------------------------------------------------


def test_a_padding_token_beyond_the_embedding_is_replaced(model_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(model_folder, tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<filler>"})
    assert tokenizer.pad_token_id == 19
    tokenizer.save_pretrained(base)
    loaded = load(BaseModelRef(id="tests/tiny", path=str(base)), tmp_path, torch.device("cpu"))
    assert loaded.tokenizer.pad_token_id == 1
    sampler = Sampler(loaded.renderer, loaded.eos_ids, 1.0, 4)
    drawn = sampler._generate(loaded.model, [[5], [6, 7, 8]], 1)
    assert [len(answers.ids) for answers in drawn] == [1, 1]


def test_a_prompt_with_tokens_beyond_the_embedding_is_refused(model_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(model_folder, tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<new>"])
    tokenizer.chat_template = tokenizer.chat_template.replace("<turn>", "<new>")
    tokenizer.save_pretrained(base)
    (tmp_path / "spec.json").write_text(json.dumps(small_spec(tmp_path, base)))
    assert run_engine("run", tmp_path / "spec.json", "--out", tmp_path / "out") == 1
    error = of_type(events_of(tmp_path / "out"), "error")[0]
    assert error.code == "tokens_beyond_model"
    assert "19 ids" in error.message


def test_the_hash_of_pickled_weights_is_theirs(tmp_path: Path) -> None:
    empty = weights_sha256(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"one")
    first = weights_sha256(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"two")
    assert len({empty, first, weights_sha256(tmp_path)}) == 3
