"""Answers in a form: a JSON schema as a grammar that says which tokens may come next (llguidance)."""

from __future__ import annotations

from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from workers.engine.base_model.models import Base
from workers.serve.errors import ApiError, invalid

# A space or a new line with its indentation: without bounds a small model writes spaces to its limit. And
# nothing of a schema may be ignored in silence.
STYLE: Any = {"whitespace_flexible": True, "whitespace_pattern": r" |\n {0,12}", "lenient": False}
QUOTE, BACKSLASH = b'"\\'


def _refused(matcher: LLMatcher) -> ApiError:
    reason = matcher.get_error().split("\n<state>")[0]
    return invalid("response_format.json_schema.schema", f"it cannot be enforced: {reason}")


class Forms:
    """Makes forms for one model. ``starts_blank`` says of each token whether it begins with white space."""

    def __init__(self, base: Base) -> None:
        width = max(base.model.config.get_text_config().vocab_size, len(base.tokenizer))
        self.tokens: LLTokenizer = from_tokenizer(base.tokenizer, n_vocab=width, eos_token=base.eos_ids)
        self.quote, self.brackets, self.comma = map(self.tokens.greedy_tokenize, ('"', "}]", ","))
        self.starts_blank = np.array([self.tokens.decode_bytes([i])[:1].isspace() for i in range(width)])

    def of(self, schema: dict[str, Any]) -> Form:
        """The form of a JSON schema. Raises ``ApiError`` if it cannot be enforced whole."""
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=STYLE)
        matcher = LLMatcher(self.tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _refused(matcher)
        return Form(self, matcher)


class Form:
    """How far one answer is in its form."""

    def __init__(self, forms: Forms, matcher: LLMatcher) -> None:
        self._forms, self._matcher = forms, matcher
        self._in_string = self._escaped = False

    def copy(self) -> Form:
        """The same form at its beginning."""
        return Form(self._forms, self._matcher.deep_copy())

    def take(self, token: int) -> bool:
        """Adds a token; whether the answer is complete.

        Raises ``ApiError`` if the grammar's parser gives up at one of its limits.
        """
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise _refused(self._matcher)
        for byte in self._forms.tokens.decode_bytes([token]):
            if byte == QUOTE and not self._escaped:
                self._in_string = not self._in_string
            self._escaped = byte == BACKSLASH and not self._escaped
        return self._matcher.is_stopped()

    def allowed(self, width: int, closing: bool) -> NDArray[np.bool_]:
        """Which tokens may come next, (width,); if ``closing``, only those that bring the end nearer."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(packed, bitorder="little", count=width).astype(bool)
        return self._nearer(mask) if closing else mask

    def _nearer(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What ends a string, else an object or a list, else a number, else anything but white space."""
        forms = self._forms
        for end in [forms.quote] if self._in_string else [forms.brackets, forms.comma]:
            if mask[end].any():
                nearer = np.zeros_like(mask)
                nearer[end] = mask[end]
                return nearer
        inked = mask & ~forms.starts_blank[: len(mask)]
        return mask if self._in_string or not inked.any() else inked
