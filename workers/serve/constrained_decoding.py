"""Constrained decoding: JSON schemas and tool calls as grammars of the next tokens (llguidance)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from workers.contract.json_types import JsonObject
from workers.engine.base_model.models import Base
from workers.serve.errors import ApiError, invalid_field

# White space is a space or a new line with indentation: without bounds a small model writes spaces up to its
# limit. Not lenient: no part of a schema may be ignored silently.
STYLE: Any = {"whitespace_flexible": True, "whitespace_pattern": r" |\n {0,12}", "lenient": False}
QUOTE, BACKSLASH = b'"\\'


def _grammar_error(param: str, matcher: LLMatcher) -> ApiError:
    reason = matcher.get_error().split("\n<state>")[0]
    return invalid_field(param, f"it cannot be enforced: {reason}")


class GrammarCompiler:
    """Compiles grammars for one model. ``starts_blank`` marks the tokens that begin with white space."""

    def __init__(self, base: Base) -> None:
        width = max(base.model.config.get_text_config().vocab_size, len(base.tokenizer))
        self.tokens: LLTokenizer = from_tokenizer(base.tokenizer, n_vocab=width, eos_token=base.eos_ids)
        self.quote, self.brackets, self.comma = map(self.tokens.greedy_tokenize, ('"', "}]", ","))
        self.starts_blank = np.array([self.tokens.decode_bytes([i])[:1].isspace() for i in range(width)])
        self._added = base.tokenizer.get_added_vocab()

    def compile_schema(self, schema: JsonObject, param: str) -> Constraint:
        """Compile a JSON schema. Raises ``ApiError`` for ``param`` if a part of it cannot be enforced."""
        return self._compile(LLMatcher.grammar_from_json_schema(schema, overrides=STYLE), param)

    def compile_calls(
        self, begin: str, calls: Sequence[tuple[str, JsonObject]], end: str, param: str
    ) -> Constraint:
        """Compile a choice of calls between two texts: each the text before its arguments, and their schema.

        Raises ``ApiError`` for ``param`` if a part of a schema cannot be enforced.
        """
        names = " | ".join(f"call_{number}" for number in range(len(calls)))
        lines = [f"start: {self._terminal(begin)} ({names}) {self._terminal(end)}"]
        for number, (head, schema) in enumerate(calls):
            lines.append(f'call_{number}: {json.dumps(head)} args_{number} "}}"')
            lines.append(f"args_{number}: %json {json.dumps(schema | {'x-guidance': STYLE})}")
        return self._compile(LLMatcher.grammar_from_lark("\n".join(lines)), param)

    def _terminal(self, text: str) -> str:
        """Return terminals of the grammar for a text: special tokens stand without quotes."""
        terminals = []
        for part in re.split(f"({'|'.join(map(re.escape, self._added))})", text) if self._added else [text]:
            token = self._added.get(part)
            special = token is not None and self.tokens.is_special_token(token)
            terminals += [part if special else json.dumps(part)] if part else []
        return " ".join(terminals)

    def _compile(self, grammar: str, param: str) -> Constraint:
        matcher = LLMatcher(self.tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _grammar_error(param, matcher)
        return Constraint(self, matcher, param)


class Constraint:
    """State of one completion within its grammar."""

    def __init__(self, compiler: GrammarCompiler, matcher: LLMatcher, param: str) -> None:
        self._compiler, self._matcher, self._param = compiler, matcher, param
        self._in_string = self._escaped = False

    def copy(self) -> Constraint:
        """Return the same constraint at its beginning."""
        return Constraint(self._compiler, self._matcher.deep_copy(), self._param)

    def add(self, token: int) -> bool:
        """Add a token; return True if the completion satisfies the grammar and ends.

        Raises ``ApiError`` if the grammar's parser gives up at one of its limits.
        """
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise _grammar_error(self._param, self._matcher)
        for byte in self._compiler.tokens.decode_bytes([token]):
            if byte == QUOTE and not self._escaped:
                self._in_string = not self._in_string
            self._escaped = byte == BACKSLASH and not self._escaped
        return self._matcher.is_stopped()

    def mask_tokens(self, width: int, closing: bool) -> NDArray[np.bool_]:
        """Return which tokens may come next, (width,); if ``closing``, only those that lead to the end."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(packed, bitorder="little", count=width).astype(bool)
        return self._mask_closing(mask) if closing else mask

    def _mask_closing(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Allow what ends a string, else an object or list, else a number, else all but white space."""
        tokens = self._compiler
        for ends in [tokens.quote] if self._in_string else [tokens.brackets, tokens.comma]:
            if mask[ends].any():
                closing = np.zeros_like(mask)
                closing[ends] = mask[ends]
                return closing
        visible = mask & ~tokens.starts_blank[: len(mask)]
        return mask if self._in_string or not visible.any() else visible
