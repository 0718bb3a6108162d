"""Trains the starter model that calls tools: ``python -m workers.starter.tool_use.pretrain OUT``.

Like ``workers.starter.pretrain``: right transcripts until copying and the policy emerge, then transcripts
with the habits of many offices. Its tokens may hold several words, so that an episode has about 150.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import get_json_schema
from trl.chat_template_utils import qwen3_template

from workers.contract.base_models.sentence_pieces import DIGIT_PAIRS
from workers.environments.built_in.refund_desk import RefundDesk
from workers.starter.office_tasks import make_random
from workers.starter.pretrain import END, PAD, START, Phase, build_model, save, train
from workers.starter.tool_use.transcripts import Transcript, draw_transcript

HERE = Path(__file__).parent
PINNED = HERE / "model"
CHAT_TEMPLATE = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
TOOLS = ("ask_customer", "find_orders", "get_order", "issue_refund", "escalate", "deny")
VOCABULARY = 1600
LONGEST_TOKEN = 32
TOKENIZER_TRANSCRIPTS = 4000
WIDTH = 128
ROWS_PER_STEP = 16
POOL_ROWS = 256


@dataclass(frozen=True)
class PromptedPhase(Phase):
    """A phase in which every ``prompt_every``-th step has the system prompt, which costs 60 tokens a row.

    ``slips`` is the share of transcripts in which a call fails and is repeated.
    """

    prompt_every: int
    slips: float


PHASES = (
    PromptedPhase(
        "skills", False, steps=1400, peak_rate=4e-3, last_rate=1e-3, seed=2, prompt_every=4, slips=0.3
    ),
    PromptedPhase(
        "habits", True, steps=250, peak_rate=1e-3, last_rate=3e-5, seed=3, prompt_every=1, slips=0.2
    ),
)

Row = tuple[list[int], list[float]]


def list_tools() -> list[dict[str, Any]]:
    """Return the tools of the refund desk as OpenAI's function tools."""
    return [get_json_schema(getattr(RefundDesk, name)) for name in TOOLS]


def build_tokenizer() -> Any:
    """Train a BPE tokenizer on transcripts; it splits only digits, so a token may hold several words."""
    tokenizer = _wrap(Tokenizer(models.BPE()))
    prompt = _render_system(tokenizer, list_tools()).replace(START, "").replace(END, "")
    rng, texts = make_random(1), []
    for index in range(TOKENIZER_TRANSCRIPTS):
        transcript = draw_transcript(rng, habitual=True, slips=0.2)
        texts += [prompt] * (index % 8 == 0) + [f"user\n{transcript.message}"]
        for turn in transcript.turns:
            texts += [turn.text, "assistant\n"] + ([] if turn.result is None else [f"tool\n{turn.result}"])
    bpe = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(DIGIT_PAIRS), "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        max_token_length=LONGEST_TOKEN,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _wrap(bpe)


def _wrap(bpe: Any) -> Any:
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, eos_token=END, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.response_template = qwen3_template
    return tokenizer


def _render_system(tokenizer: Any, tools: list[dict[str, Any]]) -> str:
    system = [{"role": "system", "content": RefundDesk.system_prompt}]
    return str(tokenizer.apply_chat_template(system, tools=tools, tokenize=False))


def iterate_batches(tokenizer: Any, phase: PromptedPhase) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield without end ``(tokens, weights)``: weight 1 on what the agent writes, 0 on what it reads."""
    rng = make_random(phase.seed)
    for step, rows in zip(count(), _draw_rows(tokenizer, phase, rng), strict=False):
        system = [] if step % phase.prompt_every else _draw_system(tokenizer, rng)
        yield _pad([(system + tokens, [0.0] * len(system) + w) for tokens, w in rows], tokenizer.pad_token_id)


def _draw_rows(tokenizer: Any, phase: PromptedPhase, rng: Random) -> Iterator[list[Row]]:
    """Yield rows of about the same length for one step after another."""
    while True:
        transcripts = [draw_transcript(rng, phase.habitual, phase.slips) for _ in range(POOL_ROWS)]
        rows = [_encode(tokenizer, transcript) for transcript in transcripts]
        rows.sort(key=lambda row: len(row[0]))
        starts = list(range(0, POOL_ROWS, ROWS_PER_STEP))
        rng.shuffle(starts)
        yield from (rows[start : start + ROWS_PER_STEP] for start in starts)


def _draw_system(tokenizer: Any, rng: Random) -> list[int]:
    """Return the tokens of the system prompt with the tools in any order."""
    tools = list_tools()
    rng.shuffle(tools)
    return list(tokenizer(_render_system(tokenizer, tools))["input_ids"])


def _encode(tokenizer: Any, transcript: Transcript) -> Row:
    """Encode each turn on its own, as the tokens of an episode arise."""
    texts = [f"<|im_start|>user\n{transcript.message}<|im_end|>\n<|im_start|>assistant\n"]
    text_weights = [0.0]
    for turn in transcript.turns:
        texts += [f"{turn.text}<|im_end|>", "\n" if turn.result is None else write_result(turn.result)]
        text_weights += [0.0 if turn.slip else 1.0, 0.0]
    tokens: list[int] = []
    weights: list[float] = []
    for ids, weight in zip(tokenizer(texts)["input_ids"], text_weights, strict=True):
        tokens += ids
        weights += [weight] * len(ids)
    return tokens, weights


def write_result(result: str) -> str:
    """Return what follows the agent's turn in the prompt of its next one."""
    return f"\n<|im_start|>tool\n{result}<|im_end|>\n<|im_start|>assistant\n"


def _pad(rows: list[Row], pad: int) -> tuple[Tensor, Tensor]:
    length = max(len(tokens) for tokens, _ in rows)
    tokens = [tokens + [pad] * (length - len(tokens)) for tokens, _ in rows]
    weights = [weights + [0.0] * (length - len(weights)) for _, weights in rows]
    return torch.tensor(tokens), torch.tensor(weights)


def pretrain(out: Path, tokenizer: Any, phases: tuple[PromptedPhase, ...] = PHASES) -> None:
    """Train all phases; write the model to ``out`` after each."""
    model = build_model(tokenizer, WIDTH)
    measured = []
    for phase in phases:
        measured.append(train(model, model, iterate_batches(tokenizer, phase), phase))
        save(out, tokenizer, copy.deepcopy(model), measured)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--new-tokenizer", action="store_true", help="train a new one, not the pinned one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pinned = build_tokenizer() if arguments.new_tokenizer else AutoTokenizer.from_pretrained(PINNED)
    pretrain(arguments.out, pinned)
