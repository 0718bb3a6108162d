"""Bodies of answers: whole chat completions, and the chunks of streams."""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from workers.contract.json_types import JsonObject, JsonValue
from workers.serve.chat import Chat, Conversation
from workers.serve.message_parts import Part
from workers.serve.rows import Row, Scores


@dataclass(frozen=True)
class Progress:
    """What a row has newly generated: certain text, and how many of its tokens that text contains."""

    choice: int
    text: str
    shown: int
    total: int
    finish: str | None = None
    error: BaseException | None = None


def measure_progress(choice: int, row: Row) -> Progress:
    """Return a row's progress since the last call. Runs in the thread of the generation."""
    detokenizer = row.detokenizer
    text = detokenizer.take_rest() if row.finish else detokenizer.take()
    shown = bisect_left(detokenizer.starts, detokenizer.taken)
    return Progress(choice, text, shown, len(row.ids), row.finish)


class Answer:
    """Writes the answer to one conversation, whole or in chunks."""

    def __init__(self, chat: Chat, conversation: Conversation) -> None:
        self._chat, self._conversation = chat, conversation
        self._request, self._rows = conversation.request, conversation.rows
        self._id, self._created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self._writers = [_ChoiceWriter(chat, conversation, choice) for choice in range(len(self._rows))]

    def write_whole(self) -> JsonObject:
        """Return the response, once all rows are finished."""
        body = self._build_body("chat.completion", [writer.write_whole() for writer in self._writers])
        body["usage"] = self._count_usage()
        if self._request.return_token_ids:
            body["prompt_token_ids"] = [*self._conversation.group.prompt]
        return body

    def write_begin(self) -> list[JsonObject]:
        """Return the first chunk of each choice, which has the role."""
        chunks = [
            self._build_chunk([_build_delta(choice, {"role": "assistant", "content": ""})])
            for choice in range(len(self._rows))
        ]
        if self._request.return_token_ids:
            chunks[0]["prompt_token_ids"] = [*self._conversation.group.prompt]
        return chunks

    def write_progress(self, progress: Progress) -> list[JsonObject]:
        """Return the chunks for a row's progress; none while its text is held back."""
        return [
            self._build_chunk([choice]) for choice in self._writers[progress.choice].write_chunks(progress)
        ]

    def write_end(self) -> list[JsonObject]:
        """Return the chunk with the usage if the request wants it."""
        if not self._request.includes_usage:
            return []
        return [self._build_body("chat.completion.chunk", []) | {"usage": self._count_usage()}]

    def _build_chunk(self, choices: list[JsonValue]) -> JsonObject:
        body = self._build_body("chat.completion.chunk", choices)
        if self._request.includes_usage:
            body["usage"] = None
        return body

    def _build_body(self, kind: str, choices: list[JsonValue]) -> JsonObject:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._conversation.model,
            "system_fingerprint": None,
            "adapter_sha256": self._conversation.adapter_sha256,
            "choices": choices,
        }

    def _count_usage(self) -> JsonObject:
        prompt, generated = len(self._conversation.group.prompt), sum(len(row.ids) for row in self._rows)
        reasoning = sum(writer.count_reasoning() for writer in self._writers)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": min(reasoning, generated)},
        }


class _ChoiceWriter:
    """Writes one choice of an answer."""

    def __init__(self, chat: Chat, conversation: Conversation, choice: int) -> None:
        self._chat, self._request, self._choice = chat, conversation.request, choice
        self._row = conversation.rows[choice]
        self._prompt = conversation.group.prompt
        self._splitter = chat.build_splitter(conversation)
        self._reasoning = ""
        self._sent = 0  # tokens whose scores were written
        self._calls = 0

    def write_whole(self) -> JsonObject:
        row, text = self._row, self._row.detokenizer.finish()
        starts = row.detokenizer.starts
        shown = bisect_left(starts, len(text)) if starts else self._count_shown()
        if row.constraint is None:
            split = self._chat.base.renderer.split(self._chat.base.renderer.decode_tail(self._prompt), text)
            text, self._reasoning = str(split), split.reasoning
        message = self._write_message(text)
        finish = self._name_finish("tool_calls" in message)
        choice: JsonObject = {"index": self._choice, "message": message, "finish_reason": finish}
        return choice | self._write_tokens(shown, len(row.ids), empty=True)

    def _write_message(self, text: str) -> JsonObject:
        content, calls = self._separate_calls(text)
        message: JsonObject = {"role": "assistant", "content": content or None if calls else content}
        message["refusal"] = None
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if calls:
            message["tool_calls"] = calls
        return message

    def _separate_calls(self, text: str) -> tuple[str, list[JsonValue]]:
        splitter = self._chat.build_call_splitter(self._request)
        if splitter is None:
            return text, []
        parts = [*splitter.feed(text), *splitter.finish()]
        return "".join(part.text for part in parts), [part.call.describe() for part in parts if part.call]

    def _count_shown(self) -> int:
        """Return the number of tokens without the end token."""
        ids = self._row.ids
        return len(ids) - (bool(ids) and ids[-1] in self._row.end_ids)

    def write_chunks(self, progress: Progress) -> list[JsonObject]:
        parts = self._splitter.feed(progress.text)
        if progress.finish:
            parts += self._splitter.finish()
        deltas = self._write_deltas(parts)
        chunks = [_build_delta(self._choice, delta) for delta in deltas]
        if chunks:
            chunks[-1] |= self._write_tokens(progress.shown, progress.shown)
        if progress.finish:
            last = _build_delta(self._choice, {}, self._name_finish(self._calls > 0))
            chunks.append(last | self._write_tokens(progress.shown, progress.total))
        return chunks

    def _write_deltas(self, parts: Iterable[Part]) -> list[JsonObject]:
        deltas: list[JsonObject] = []
        for part in parts:
            if part.call:
                call = part.call.describe()
                function: JsonObject = {"name": part.call.name, "arguments": ""}
                deltas += [
                    {"tool_calls": [call | {"index": self._calls, "function": function}]},
                    {"tool_calls": [{"index": self._calls, "function": {"arguments": part.call.arguments}}]},
                ]
                self._calls += 1
            elif part.kind == "reasoning":
                self._reasoning += part.text
                deltas.append({"reasoning_content": part.text})
            else:
                deltas.append({"content": part.text})
        return deltas

    def _name_finish(self, calls: bool) -> str | None:
        return "tool_calls" if calls and self._row.finish == "stop" else self._row.finish

    def count_reasoning(self) -> int:
        return len(self._chat.base.renderer.encode_text(self._reasoning)) if self._reasoning else 0

    def _write_tokens(self, shown: int, total: int, empty: bool = False) -> JsonObject:
        """Return scores of tokens in the text, and ids of all tokens, that were not written yet.

        Log-probabilities of no tokens are null unless ``empty``.
        """
        scores, ids = self._row.scores, self._row.ids
        written: JsonObject = {"logprobs": None}
        if self._request.logprobs and (empty or shown > self._sent):
            content: list[JsonValue] = [self._describe(ids[i], scores[i]) for i in range(self._sent, shown)]
            written["logprobs"] = {"content": content, "refusal": None}
        if self._request.return_token_ids:
            span = range(self._sent, max(shown, total))
            written["token_ids"] = [ids[i] for i in span]
            written["logp_sampled"] = [scores[i].sampled for i in span]
            written["logp_model"] = [scores[i].model for i in span]
        self._sent = max(self._sent, shown, total)
        return written

    def _describe(self, token: int, scores: Scores) -> JsonObject:
        top: list[JsonValue] = [self._describe_token(other, logp) for other, logp in scores.top]
        return self._describe_token(token, scores.model) | {"top_logprobs": top}

    def _describe_token(self, token: int, logp: float) -> JsonObject:
        content = self._chat.grammars.tokens.decode_bytes([token])
        return {"token": content.decode("utf-8", "replace"), "logprob": logp, "bytes": [*content]}


def _build_delta(choice: int, delta: JsonObject, finish: str | None = None) -> JsonObject:
    return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
