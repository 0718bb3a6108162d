"""Exports: each is the model again, or is refused with the reason, or is thrown away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import gguf
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config
from transformers import Gemma3TextConfig as GemmaConfig

from tests.workers.engine_jobs import events_of, of_type, run_engine
from workers.contract import exports
from workers.contract.base_models import sentence_pieces
from workers.contract.base_models.gguf import PATTERNS
from workers.engine.base_model import tokenizer_files
from workers.engine.errors import EngineError
from workers.engine.export import gguf_adapter, gguf_model, merged, source, texts, vocabulary
from workers.engine.export.run import EXPORTERS
from workers.engine.packaging.verify import completion_logprobs
from workers.starter.office_tasks import draw_example

STARTER = Path("workers/starter/model")
QWEN_SPLIT = next(pattern for pattern, name in PATTERNS.items() if name == "qwen2")
SIZES = {
    "vocab_size": 1078, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
    "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
TOKENS = ["A", "mount", ":Ġ", "12", "34", ".", "50", ",Ġ", "due", "Ġ", "12", "ĠMar", "Ġ", "20", "26"]
OTHERS = {"LlamaForCausalLM": LlamaConfig, "Qwen2ForCausalLM": Qwen2Config, "Gemma3ForCausalLM": GemmaConfig}


def known_tokenizer(folder: Path) -> None:
    """Lets the starter's tokenizer split text as Qwen's does, which llama.cpp knows."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": QWEN_SPLIT}
    file.write_text(json.dumps(content))


def starter(folder: Path) -> Path:
    shutil.copytree(STARTER, folder)
    known_tokenizer(folder)
    return folder


def other(folder: Path, architecture: str) -> Path:
    """A small model of random weights with the starter's tokenizer."""
    torch.manual_seed(1)
    config = OTHERS[architecture](**SIZES, tie_word_embeddings=architecture == "Gemma3ForCausalLM")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(STARTER).save_pretrained(folder)
    known_tokenizer(folder)
    return folder


def tuned(base: Path, folder: Path) -> Path:
    """An adapter over all linear layers whose B is not zero."""
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    run = {"model_name": "ft:starter", "dtype": "float32", "settings": {"grpo": {"temperature": 0.7}}}
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return starter(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def package(base: Path) -> Path:
    return tuned(base, base.parent / "package")


def export(package: Path, base: Path, kind: str, out: Path) -> int:
    return run_engine("export", package, "--base", base, "--kind", kind, "--out", out)


@pytest.fixture(scope="module")
def exported(base: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Export the package once for each kind; return the folder."""

    @cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        assert export(package, base, kind, folder) == 0
        return folder

    return make


def expected(base: Path, package: Path, prompt: list[int], answer: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return completion_logprobs(PeftModel.from_pretrained(model, package).eval(), prompt, answer, 1.0)


def test_every_kind_has_an_exporter() -> None:
    assert EXPORTERS.keys() == exports.KINDS.keys()


@pytest.mark.parametrize("kind", exports.KINDS)
def test_an_export_is_kept_once_it_gave_the_models_numbers(
    exported: Callable[[str], Path], kind: str
) -> None:
    folder = exported(kind)
    report = json.loads((folder / "export.json").read_text())["verification"]
    assert report["difference"] <= 1e-4
    assert report["tokens"] >= 3
    assert report["tensors"] >= 46
    assert f"{report['tensors']} tensors" in (folder / "export/README.md").read_text()
    assert "README.md" in (folder / "export/SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("kind", "arguments"), [("merged", {}), ("gguf", {"gguf_file": "model.gguf", "head_dim": 32})]
)
def test_a_stranger_loads_the_tuned_model(
    base: Path, package: Path, exported: Callable[[str], Path], kind: str, arguments: dict[str, Any]
) -> None:
    folder = exported(kind) / "export"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **arguments)
    prompt, answer = [1, 40, 50, 60], [70, 80, 2]
    want = expected(base, package, prompt, answer)
    assert torch.allclose(completion_logprobs(model.eval(), prompt, answer, 1.0), want, atol=1e-4)
    untuned = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    assert not torch.allclose(completion_logprobs(untuned, prompt, answer, 1.0), want, atol=1e-2)


@pytest.mark.parametrize("architecture", OTHERS)
def test_every_architecture_that_is_offered_comes_back(tmp_path: Path, architecture: str) -> None:
    base = other(tmp_path / "base", architecture)
    package = tuned(base, tmp_path / "package")
    config, tokenizer = exports.read_base(base)
    for kind in exports.KINDS:
        refused = exports.KINDS[kind].find_refusal(config, tokenizer)
        assert export(package, base, kind, tmp_path / kind) == (1 if refused else 0), kind
        assert (tmp_path / kind / "export").exists() != bool(refused)


def spoil_safetensors(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] += 0.001
    save_file(tensors, file, metadata={"format": "pt"})


def spoil_gguf(name: str, tensor: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        reader = gguf.GGUFReader(folder / name, "r+")
        next(each for each in reader.tensors if each.name == tensor).data[3, 5] += 0.001
        reader.data.flush()

    return spoil


SPOILS: dict[str, tuple[Any, Callable[[Path], None]]] = {
    "merged": (merged, spoil_safetensors),
    "gguf": (gguf_model, spoil_gguf("model.gguf", "blk.1.ffn_up.weight")),
    "gguf-adapter": (gguf_adapter, spoil_gguf("adapter.gguf", "blk.1.ffn_up.weight.lora_b")),
}


@pytest.mark.parametrize("kind", SPOILS)
def test_one_number_of_one_tensor_gone_wrong_is_found_and_nothing_is_kept(
    base: Path, package: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, spoil = SPOILS[kind]
    write = module.write

    def write_and_spoil(*arguments: Any) -> None:
        write(*arguments)
        spoil(arguments[-1])

    monkeypatch.setattr(module, "write", write_and_spoil)
    assert export(package, base, kind, tmp_path) == 1
    assert of_type(events_of(tmp_path), "error")[0].code == "export_differs"
    assert not list(tmp_path.glob("*export"))


def test_wrong_alpha_is_found_by_the_numbers(
    base: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_adapter, "_alpha", lambda _: 8.0)
    assert export(package, base, "gguf-adapter", tmp_path) == 1
    assert "log-probability" in of_type(events_of(tmp_path), "error")[0].message


def test_numbers_are_held_against_the_trainers_where_they_are_at_hand(
    base: Path, package: Path, tmp_path: Path
) -> None:
    prompt, answer = [1, 40, 50, 60], [70, 80, 2]
    logprobs = expected(base, package, prompt, answer).tolist()
    rollout = {"prompt_ids": prompt, "completion_ids": answer, "logprobs": logprobs}
    told = {"temperature": 1.0, "dtype": "float32", "device": "cpu", "rollouts": [rollout]}
    file = tmp_path / "verification.json"
    file.write_text(json.dumps(told))
    arguments = ("export", package, "--base", base, "--kind", "gguf", "--rollouts", file, "--out", tmp_path)
    assert run_engine(*arguments) == 0
    report = json.loads((tmp_path / "export.json").read_text())["verification"]
    assert report["against"] == "the trainer's log-probabilities"
    rollout["logprobs"] = [value - 0.01 for value in logprobs]
    file.write_text(json.dumps(told))
    assert run_engine(*arguments) == 1


def unknown_split(folder: Path) -> Path:
    """The starter with a tokenizer that splits digits by fours, which llama.cpp cannot."""
    shutil.copytree(STARTER, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\d{1,4}"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_a_tokenizer_that_llama_cpp_would_split_otherwise_is_refused(tmp_path: Path, package: Path) -> None:
    unknown = unknown_split(tmp_path / "unknown")
    assert export(package, unknown, "gguf", tmp_path) == 1
    error = of_type(events_of(tmp_path), "error")[0]
    assert error.code == "export_refused"
    assert "tokenizer splits text" in error.message
    assert exports.MERGED.find_refusal(*exports.read_base(unknown)) is None
    assert "GGUF of the base" in (exports.GGUF_ADAPTER.find_refusal(*exports.read_base(unknown)) or "")


def test_the_starter_is_written_as_gguf_with_its_vocabulary_as_pieces(tmp_path: Path) -> None:
    assert export(tuned(STARTER, tmp_path / "package"), STARTER, "gguf", tmp_path) == 0
    reader = gguf.GGUFReader(tmp_path / "export/model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items() if "ggml" in name}
    vocabulary = json.loads((STARTER / "tokenizer.json").read_text())["model"]["vocab"]
    assert fields["tokenizer.ggml.model"] == "llama"
    assert fields["tokenizer.ggml.add_space_prefix"] is False
    assert fields["tokenizer.ggml.tokens"][vocabulary["Ġthe"]] == "\u2581the"
    assert fields["tokenizer.ggml.tokens"][2] == "<|im_end|>"
    scores = fields["tokenizer.ggml.scores"]
    assert scores[vocabulary["20"]] == scores[vocabulary["02"]] == 0.0


def test_a_gguf_adapter_brings_the_base_that_it_is_loaded_over(
    base: Path, package: Path, tmp_path: Path
) -> None:
    assert export(package, base, "gguf-adapter", tmp_path) == 0
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "export", gguf_file="base.gguf", dtype=torch.float32, head_dim=32
    )
    untuned = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, tensor in untuned.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def joined(text: str, scores: dict[str, float]) -> list[str]:
    """Tokens as llama.cpp's SentencePiece finds them: the best score first, the leftmost of equals."""
    letters = {byte: letter for letter, byte in sentence_pieces.byte_letters().items()}
    parts = [letters[byte] for byte in text.encode()]
    while pairs := [(-scores[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in scores]:
        _, at = min(pairs)
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    return parts


def test_scores_give_the_ids_that_the_starters_tokenizer_gives() -> None:
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    scores = sentence_pieces.compute_scores(json.loads((STARTER / "tokenizer.json").read_text()))
    assert scores is not None
    rng = Random(3)
    texts = [draw_example(rng).prompt for _ in range(20)]
    texts += ["".join(rng.choices('aeinrstf 0123456789,.:]"{}\n☃é', k=50)) for _ in range(60)]
    for text in [*texts, "ififi", "2025 (x) y", "  a  b", "1234567"]:
        assert tokenizer.encode(text).tokens == joined(text, scores), text


@pytest.mark.parametrize(
    "change",
    [
        {"merges": []},
        {"ignore_merges": True},
        {"byte_fallback": True},
        {"type": "Unigram"},
    ],
)
def test_no_scores_for_a_vocabulary_that_is_joined_otherwise(change: dict[str, Any]) -> None:
    content = json.loads((STARTER / "tokenizer.json").read_text())
    content["model"] |= change
    assert sentence_pieces.compute_scores(content) is None


def test_the_starters_tokenizer_gives_the_ids_that_its_model_was_trained_on() -> None:
    """The prompts' ids when the weights were made: a comma keeps its space, digits go by twos."""
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    assert tokenizer.encode("Amount: 1234.50, due 12 Mar 2026").tokens == TOKENS


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (exports.GGUF_ADAPTER, {"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        (exports.GGUF, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "yarn"),
        (exports.GGUF, {"architectures": ["Gemma3ForCausalLM"]}, "SentencePiece"),
        (exports.MERGED, {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
)
def test_what_cannot_be_exported_says_so(
    base: Path, kind: exports.ExportKind, change: dict[str, Any], said: str
) -> None:
    config, tokenizer = exports.read_base(base)
    assert kind.find_refusal(config, tokenizer) is None
    assert said in (kind.find_refusal(config | change, tokenizer) or "")


def test_the_modelfile_has_the_template_where_it_is_the_same_to_the_letter(
    base: Path, package: Path, tmp_path: Path
) -> None:
    loaded = source.load(package, base, None)
    texts.write_modelfile(loaded, "FROM ./model.gguf\n", tmp_path)
    written = (tmp_path / "Modelfile").read_text()
    assert written.startswith("FROM ./model.gguf\nTEMPLATE")
    assert 'PARAMETER stop "<|im_end|>"' in written
    assert "PARAMETER temperature 0.7" in written
    loaded.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    texts.write_modelfile(loaded, "", tmp_path)
    assert "cannot translate" in (tmp_path / "Modelfile").read_text()


def test_an_adapter_on_other_layers_is_no_gguf_adapter(base: Path, package: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(package, tmp_path / "package")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.ones(8, 1078)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(EngineError, match="embed_tokens"):
        gguf_adapter.write(source.load(folder, base, None), tmp_path)


def as_transformers_4(folder: Path) -> None:
    """Rewrites config and tokenizer files as published models of transformers 4 have them."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["torch_dtype"] = config.pop("dtype", "float32")
    config |= {"rope_theta": rope["rope_theta"], "transformers_version": "4.51.0"}
    (folder / "config.json").write_text(json.dumps(config))
    tokens = {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<|im_start|>"]}
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "bos_token": None, "add_prefix_space": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | ends))
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2], "top_k": 20}))


def test_a_merged_export_has_the_files_of_its_base(package: Path, base: Path, tmp_path: Path) -> None:
    older = shutil.copytree(base, tmp_path / "older")
    as_transformers_4(older)
    assert export(package, older, "merged", tmp_path) == 0
    made = tmp_path / "export"
    for name in (
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
        "chat_template.jinja",
    ):  # fmt: skip
        assert (made / name).read_bytes() == (older / name).read_bytes(), name
    own = json.loads((older / "config.json").read_text())
    assert json.loads((made / "config.json").read_text()) == own | {"torch_dtype": "float32"}


def test_a_template_that_the_job_chose_goes_with_the_bases_files(base: Path, tmp_path: Path) -> None:
    older = shutil.copytree(base, tmp_path / "older")
    (older / "chat_template.jinja").unlink()
    settings = json.loads((older / "tokenizer_config.json").read_text())
    settings |= {"chat_template": "{{ messages[0]['content'] }}", "auto_map": {"AutoTokenizer": "own.Own"}}
    (older / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    made = tmp_path / "made"
    made.mkdir()
    tokenizer_files.write_tokenizer(tokenizer, older, made)
    assert (made / "tokenizer.json").read_bytes() == (older / "tokenizer.json").read_bytes()
    assert (made / "chat_template.jinja").read_text() == tokenizer.chat_template
    written = json.loads((made / "tokenizer_config.json").read_text())
    assert written["chat_template"] == tokenizer.chat_template
    assert "auto_map" not in written


def test_templates_by_name_stay_with_the_tokenizer(base: Path, tmp_path: Path) -> None:
    """They are a list in one file: packages and exports have no folders."""
    named = shutil.copytree(base, tmp_path / "named")
    (named / "additional_chat_templates").mkdir()
    (named / "additional_chat_templates/tool_use.jinja").write_text("{{ tools }}")
    tokenizer = AutoTokenizer.from_pretrained(named)
    tokenizer_files.write_tokenizer(tokenizer, named, tmp_path / "made")
    assert all(path.is_file() for path in (tmp_path / "made").iterdir())
    made = AutoTokenizer.from_pretrained(tmp_path / "made")
    template = (base / "chat_template.jinja").read_text()
    assert made.chat_template == {"default": template, "tool_use": "{{ tools }}"}
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    vocabulary.add_vocabulary(writer, made, json.loads((base / "tokenizer.json").read_text()), 1078)
    written = writer.kv_data[0]
    assert written["tokenizer.chat_template"].value == template
    assert written["tokenizer.chat_template.tool_use"].value == "{{ tools }}"
    made.chat_template = template  # a job's choice, which stands for rows with tools, too
    tokenizer_files.write_tokenizer(made, tmp_path / "made", tmp_path / "one")
    assert AutoTokenizer.from_pretrained(tmp_path / "one").chat_template == template


def test_a_base_without_tokenizer_files_gets_those_that_transformers_writes(
    base: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    tokenizer_files.write_tokenizer(AutoTokenizer.from_pretrained(base), tmp_path / "empty", tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("a 12")["input_ids"]


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json"])
def test_transformers_4_reads_the_starters_files(name: str) -> None:
    content = json.loads((STARTER / name).read_text())
    assert content.get("tokenizer_class", "PreTrainedTokenizerFast") == "PreTrainedTokenizerFast"
    assert not isinstance(content.get("extra_special_tokens"), list)
    if "rope_parameters" in content:
        assert content["rope_theta"] == content["rope_parameters"]["rope_theta"]
