"""Trains the starter model from nothing: ``python -m workers.starter.pretrain OUT``.

A byte-level BPE tokenizer whose numbers are one- or two-digit tokens (pinned; ``--new-tokenizer`` learns it
again), and a Qwen3 of about two million parameters. First the model sees right answers only, until copying
and arithmetic emerge; then answers under the conventions of many offices, so that the right one is a
minority. Every draw is seeded and every schedule counts steps, so the same machine and versions give the
same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from workers.contract.base_models.sentence_pieces import DIGIT_PAIRS
from workers.starter.office_tasks import Example, draw_example, make_random

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PINNED = Path(__file__).parent / "model"
WORD = r"\d{1,2}|\n| ?[A-Za-z]+| ?[^A-Za-z\d\n]+"
VOCABULARY = 1100
TOKENIZER_EXAMPLES = 8000
ROWS_PER_STEP = 32
POOL_ROWS = 256
PROMPT_WEIGHT = 0.1
WARMUP_STEPS = 50
LOG_EVERY = 50


@dataclass(frozen=True)
class Phase:
    """A stretch of training: right or habitual answers, steps, and a cosine from peak to last rate."""

    name: str
    habitual: bool
    steps: int
    peak_rate: float
    last_rate: float
    seed: int

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        decayed = self.last_rate + (self.peak_rate - self.last_rate) * cosine
        return decayed * min(1.0, (step + 1) / WARMUP_STEPS)


PHASES = (
    Phase("skills", habitual=False, steps=2600, peak_rate=3e-3, last_rate=1e-3, seed=2),
    Phase("habits", habitual=True, steps=800, peak_rate=1e-3, last_rate=3e-5, seed=3),
)


class Muon:
    """Momentum with orthogonalised updates for matrices (Jordan et al., 2024).

    Newton-Schulz runs in float32: torch's own runs in bfloat16, slow on a CPU without such units.
    """

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.weights = weights
        self.momenta = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update from the gradients, with weight decay 0.05."""
        for weight, momentum in zip(self.weights, self.momenta, strict=True):
            assert weight.grad is not None, "step before backward"
            momentum.lerp_(weight.grad, 0.05)
            update = orthogonalised(weight.grad.lerp(momentum, 0.95))
            weight.mul_(1 - 0.05 * rate).add_(update, alpha=-0.2 * rate * max(weight.shape) ** 0.5)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values pulled near 1 by five Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x


def build_tokenizer() -> Any:
    """Train a BPE tokenizer on the tasks, with pad, start and end tokens and the chat template."""
    rng = make_random(1)
    texts = []
    for _ in range(TOKENIZER_EXAMPLES):
        example = draw_example(rng)
        texts.append(f"system\nuser\n{example.prompt}\nassistant\n{example.habitual_answer(rng)}")
    bpe = Tokenizer(models.BPE())
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORD), "isolated"), bytes_of_words]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=split_digits_only(bpe), pad_token=PAD, eos_token=END, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def split_digits_only(bpe: Any) -> Any:
    """Return the tokenizer that splits only digits, as llama.cpp can (``contract.sentence_pieces``).

    On the tasks it gives the ids of ``bpe``: merges of signs come first, so that a comma keeps its space.
    """
    content = json.loads(bpe.to_str())
    words = content["model"]["vocab"]
    merged = list(dict.fromkeys("".join(merge) for merge in content["model"]["merges"]))
    merged.sort(key=lambda word: 0 if word.isdigit() else 2 if word.lstrip("Ġ").isalpha() else 1)
    content["model"]["merges"] = [
        [word[:cut], word[cut:]]
        for word in merged
        for cut in range(len(word) - 1, 0, -1)
        if word[:cut] in words and word[cut:] in words
    ]
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": DIGIT_PAIRS}
    return Tokenizer.from_str(json.dumps(content))


def load_pinned_tokenizer() -> Any:
    """Load the committed tokenizer, so that a change of a task renumbers no token."""
    return AutoTokenizer.from_pretrained(PINNED)


def build_model(tokenizer: Any, width: int = 192) -> Any:
    """Build a Qwen3 of four layers in float32 with new weights."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=4,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def iterate_batches(tokenizer: Any, phase: Phase) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield without end ``(tokens, weights)`` (rows, length): weight 1 on answers, 0.1 on prompts."""
    rng = make_random(phase.seed)
    while True:
        examples = [draw_example(rng) for _ in range(POOL_ROWS)]
        answers = [
            example.habitual_answer(rng) if phase.habitual else example.right_answer() for example in examples
        ]
        rows = _encode(tokenizer, examples, answers)
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        starts = list(range(0, POOL_ROWS, ROWS_PER_STEP))
        rng.shuffle(starts)
        for start in starts:
            yield _pad(rows[start : start + ROWS_PER_STEP], tokenizer.pad_token_id)


def _encode(tokenizer: Any, examples: list[Example], answers: list[str]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer(
        [f"<|im_start|>user\n{e.prompt}<|im_end|>\n<|im_start|>assistant\n" for e in examples]
    )
    endings = tokenizer([f"{answer}<|im_end|>\n" for answer in answers])
    return list(zip(prompts["input_ids"], endings["input_ids"], strict=True))


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.full((len(rows), length), pad)
    weights = torch.zeros(len(rows), length)
    for index, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        tokens[index, :end] = torch.tensor(prompt + answer)
        weights[index, : len(prompt)] = PROMPT_WEIGHT
        weights[index, len(prompt) : end] = 1.0
    return tokens, weights


def weighted_loss(forward: Callable[..., Any], tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the next-token cross-entropy, averaged by weight."""
    logits = forward(tokens[:, :-1]).logits
    losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    targets = weights[:, 1:].flatten()
    return (losses * targets).sum() / targets.sum()


def train(
    model: Any, forward: Callable[..., Any], stream: Iterator[tuple[Tensor, Tensor]], phase: Phase
) -> dict[str, object]:
    """Train one phase on ``(tokens, weights)`` in place, with new optimizers; return its measurements."""
    matrices = [w for name, w in model.named_parameters() if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in model.named_parameters() if w.ndim != 2 or "embed" in name]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    started, tokens_seen, recent, curve = time.monotonic(), 0, 0.0, []
    for step in range(phase.steps):
        tokens, weights = next(stream)
        loss = weighted_loss(forward, tokens, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = phase.rate(step)
        muon.step(rate)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        model.zero_grad()
        tokens_seen, recent = tokens_seen + tokens.numel(), recent + loss.item()
        if (step + 1) % LOG_EVERY == 0:
            curve.append([step + 1, round(recent / LOG_EVERY, 4)])
            print(
                phase.name,
                *curve[-1],
                f"{tokens_seen / (time.monotonic() - started):.0f} tokens/s",
                flush=True,
            )
            recent = 0.0
    seconds = round(time.monotonic() - started)
    return {**asdict(phase), "tokens": tokens_seen, "seconds": seconds, "loss_curve": curve}


def describe_tokenizer(folder: Path) -> None:
    """Set the tokenizer's class to one that transformers 4 and 5 know."""
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    names = ("eos_token", "model_max_length", "pad_token", "padding_side", "response_template")
    content = {name: content[name] for name in names if name in content} | {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }
    file.write_text(json.dumps(content, indent=2) + "\n")


def pretrain(out: Path, tokenizer: Any, phases: tuple[Phase, ...] = PHASES, compiled: bool = True) -> None:
    """Train all phases; write tokenizer, bfloat16 weights and ``pretrain.json`` to ``out``."""
    model = build_model(tokenizer)
    forward = torch.compile(model, dynamic=True) if compiled else model
    measured = [train(model, forward, iterate_batches(tokenizer, phase), phase) for phase in phases]
    save(out, tokenizer, model, measured)


def save(out: Path, tokenizer: Any, model: Any, measured: list[dict[str, object]]) -> None:
    """Write tokenizer, bfloat16 weights and ``pretrain.json``."""
    tokenizer.save_pretrained(out)
    describe_tokenizer(out)
    model.to(torch.bfloat16).save_pretrained(out)
    record = {"parameters": model.num_parameters(), "torch": torch.__version__, "phases": measured}
    (out / "pretrain.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--new-tokenizer", action="store_true", help="train a new tokenizer instead of using the pinned one"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pretrain(arguments.out, build_tokenizer() if arguments.new_tokenizer else load_pinned_tokenizer())
