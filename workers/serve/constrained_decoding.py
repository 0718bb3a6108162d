"""Constrained decoding: a JSON schema as a grammar of the next tokens (llguidance)."""

from __future__ import annotations

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


def _schema_error(matcher: LLMatcher) -> ApiError:
    reason = matcher.get_error().split("\n<state>")[0]
    return invalid_field("response_format.json_schema.schema", f"it cannot be enforced: {reason}")


class SchemaCompiler:
    """Compiles schemas for one model. ``starts_blank`` marks the tokens that begin with white space."""

    def __init__(self, base: Base) -> None:
        width = max(base.model.config.get_text_config().vocab_size, len(base.tokenizer))
        self.tokens: LLTokenizer = from_tokenizer(base.tokenizer, n_vocab=width, eos_token=base.eos_ids)
        self.quote, self.brackets, self.comma = map(self.tokens.greedy_tokenize, ('"', "}]", ","))
        self.starts_blank = np.array([self.tokens.decode_bytes([i])[:1].isspace() for i in range(width)])

    def compile(self, schema: JsonObject) -> SchemaConstraint:
        """Compile a JSON schema. Raises ``ApiError`` if a part of it cannot be enforced."""
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=STYLE)
        matcher = LLMatcher(self.tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _schema_error(matcher)
        return SchemaConstraint(self, matcher)


class SchemaConstraint:
    """State of one completion within its schema."""

    def __init__(self, compiler: SchemaCompiler, matcher: LLMatcher) -> None:
        self._compiler, self._matcher = compiler, matcher
        self._in_string = self._escaped = False

    def copy(self) -> SchemaConstraint:
        """Return the same constraint at its beginning."""
        return SchemaConstraint(self._compiler, self._matcher.deep_copy())

    def add(self, token: int) -> bool:
        """Add a token; return True if the completion satisfies the schema and ends.

        Raises ``ApiError`` if the grammar's parser gives up at one of its limits.
        """
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise _schema_error(self._matcher)
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
