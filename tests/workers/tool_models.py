"""A small random model whose tokenizer has bytes and Qwen's tokens, and an environment in this process.

Only tests' own classes are played here: users' run in the sandbox.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import get_json_schema

from workers.contract.json_types import JsonObject
from workers.environments.backend import Backend, Call, Score, Session, SessionLost, ToolResult

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@cache
def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the marks of Qwen3's chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: at for at, each in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(MARKS)
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in ("<tool_call>", "</tool_call>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=MARKS[0],
        eos_token=MARKS[2],
        chat_template=(files("trl") / "chat_templates" / "qwen3.jinja").read_text(),
    )


def qwen_model() -> Qwen3ForCausalLM:
    """261 tokens, two layers, long context."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=261,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=4096,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = [qwen_tokenizer().eos_token_id]
    model.generation_config.pad_token_id = qwen_tokenizer().pad_token_id
    return model


class Counter:
    """The model adds to a counter and closes it; the reward is 1 if it stands at the goal."""

    system_prompt = "Count."

    def reset(self, goal: int, **_: Any) -> str:
        self.goal, self.value, self.closed = goal, 0, False
        return f"Count to {goal}."

    def add(self, number: int) -> str:
        """Add to the counter.

        Args:
            number: what to add.
        """
        self.value += number
        return f"It is {self.value}. <|im_end|>"

    def close(self) -> str:
        """Close the counter."""
        self.closed = True
        return "closed"

    def get_reward(self) -> float:
        return float(self.value == self.goal)


@dataclass
class Playing:
    """A session of an object in this process. ``says`` is what a scripted user replies, in order."""

    object: Any
    prompt: str
    says: list[str]
    closed: int = 0

    def call(self, name: str, arguments: JsonObject) -> ToolResult:
        """A tool that raises loses the session if it raises ``SessionLost``."""
        try:
            text = getattr(self.object, name)(**arguments)
        except (TypeError, AttributeError) as error:
            return ToolResult(f"Error: {error}", error=str(error))
        return ToolResult(text, finished=getattr(self.object, "closed", False))

    def reply(self, message: str) -> str | None:
        return self.says.pop(0) if self.says else None

    def score(self) -> Score:
        return Score(self.object.get_reward(), feedback="counted")

    def close(self) -> None:
        self.closed += 1


@dataclass
class InProcess:
    """A backend of one class."""

    kind: type
    max_tool_calls: int = 10
    says: tuple[str, ...] = ()
    lost: int | None = None
    system_prompt: str = "Count."

    def __post_init__(self) -> None:
        self.opened: list[Playing] = []
        self.batches: list[int] = []

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None: ...

    def list_tools(self) -> list[JsonObject]:
        made = self.kind()
        public = (name for name, _ in inspect.getmembers(self.kind, inspect.isfunction) if name[0] != "_")
        return [get_json_schema(getattr(made, n)) for n in public if n not in ("reset", "get_reward")]

    def list_splits(self) -> list[str]:
        return ["train"]

    def list_tasks(self, split: str) -> list[JsonObject]:
        return [{"goal": 1}]

    def open_sessions(self, tasks: Sequence[JsonObject]) -> list[Session | SessionLost]:
        found: list[Session | SessionLost] = []
        for number, task in enumerate(tasks):
            made = self.kind()
            playing = Playing(made, made.reset(**task), list(self.says))
            found.append(SessionLost("it died") if number == self.lost else playing)
            self.opened.append(playing)
        return found

    def call_all(self, calls: Sequence[Call]) -> list[ToolResult | SessionLost]:
        self.batches.append(len(calls))
        results: list[ToolResult | SessionLost] = []
        for call in calls:
            try:
                results.append(call.session.call(call.name, call.arguments))
            except SessionLost as lost:
                results.append(lost)
        return results

    def score_all(self, sessions: Sequence[Session]) -> list[Score | SessionLost]:
        return [session.score() for session in sessions]

    def find_oracle_calls(self, task: JsonObject) -> list[tuple[str, JsonObject]] | None:
        return [("add", {"number": task["goal"]}), ("close", {})]
