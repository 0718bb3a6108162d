"""A tiny random model and small jobs, so that engine tests run the real thing in seconds."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from workers.contract.events import Event, parse
from workers.engine.__main__ import main

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "red", "blue", "green", "cold", "warm", "user", "assistant"]
SPECIAL = ["<pad>", "<end>", "<turn>", "<unk>"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <turn> {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
TEMPLATES = {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
GRADER = {
    "type": "multi",
    "name": "both",
    "graders": {
        "likeness": {"type": "text_similarity", "evaluation_metric": "fuzzy_match", **TEMPLATES},
        "within": {"type": "string_check", "operation": "like", **TEMPLATES},
    },
    "calculate_output": "0.5 * likeness + 0.5 * within",
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=["<turn>"],
        chat_template=TEMPLATE,
    )


def tiny_model(vocabulary: int = len(SPECIAL) + len(WORDS)) -> Qwen3ForCausalLM:
    """19 words, 10,000 parameters; every answer is near chance, so about half end within 8 tokens."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = [1, 2]
    model.generation_config.pad_token_id = 0
    return model


def rows(number: int) -> list[dict[str, Any]]:
    """Different prompts of a few words; the reference is one of them."""
    made = []
    for index in range(number):
        words = [WORDS[(index + step * (1 + index // 8)) % 13] for step in range(3)]
        made.append(
            {
                "row_id": f"row-{index}",
                "messages": [{"role": "user", "content": " ".join(words)}],
                "item": {"reference": f"{words[0]} {words[1]}"},
            }
        )
    return made


def write_split(folder: Path, name: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return {
        "path": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(content),
    }


def small_spec(folder: Path, model: Path, train: int = 9) -> dict[str, Any]:
    """A job of 6 steps over three short epochs; change the dictionary to make another."""
    made = rows(train + 8)
    return {
        "job_id": "job-1",
        "model_name": "tiny tuned",
        "base_model": {"id": "tests/tiny", "path": str(model)},
        "dataset": {
            "sha256": "d" * 64,
            "train": write_split(folder, "train", made[:train]),
            "validation": write_split(folder, "validation", made[train : train + 4]),
            "test": write_split(folder, "test", made[train + 4 :]),
        },
        "grader": GRADER,
        "grader_sha256": "e" * 64,
        "lora": {"rank": 4, "alpha": 8},
        "grpo": {
            "group_size": 4,
            "prompts_per_step": 4,
            "learning_rate": 0.01,
            "warmup_steps": 1,
            "max_completion_length": 8,
            "max_steps": 6,
            "checkpoint_every": 3,
        },
        "evaluation": {
            "every": 2,
            "samples_per_row": 4,
            "validation_samples_per_row": 2,
            "bootstrap_resamples": 200,
        },
        "preflight": {"rows": 0},
        "seed": 3,
    }


def run_engine(*arguments: object) -> int:
    """The engine's command line in this process; leaves this process's signals as they were."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return main([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, before)


def events_of(out: Path) -> list[Event]:
    return [parse(line) for line in (out / "events.jsonl").read_text().splitlines()]


def of_type(events: list[Event], kind: str) -> list[Any]:
    return [event for event in events if event.type == kind]
