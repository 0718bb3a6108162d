"""Rendering of conversations to prompts, and parsing of token ids to completions.

Training, preflight, evaluation, retention, control runs, the model server and exports all use this module, so
they see the same token ids. What a chat template can show is found by rendering marks with it, never by
reading its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from workers.engine.prompts.conversations import (
    Message,
    Rewrite,
    is_prefill,
    rewrite_messages,
    tidy_messages,
    tidy_tools,
    tool_names,
)
from workers.engine.prompts.reasoning import KNOWN, SWITCHES, Markers, is_open, split_thoughts
from workers.grading.sample import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN_ROLE = "zzrole"
MARK = "zzmark{}x"
ARGUMENT = "zzkey"
TAIL_TOKENS = 512  # of a prompt: more than what templates write after the last turn
LEAVES_OUT = "it leaves out"
TOOL = {
    "type": "function",
    "function": {
        "name": "zztool",
        "description": "zztool",
        "parameters": {"type": "object", "properties": {ARGUMENT: {"type": "string", "description": "text"}}},
    },
}
USER: Message = {"role": "user", "content": "Hello"}


class RenderingError(ValueError):
    """The template refuses the conversation, or leaves out a part of it."""


@dataclass
class Renderer:
    """Renders with one tokenizer. ``end_ids`` end a completion; ``arguments`` go to the template.

    ``grade`` is what graders see of a completion with thoughts: the final answer, or the whole.
    """

    tokenizer: PreTrainedTokenizerBase
    end_ids: Sequence[int] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    grade: Literal["final", "whole"] = "final"
    _rewrites: dict[tuple[object, ...], Rewrite] = field(default_factory=dict, repr=False)

    # --- to the model ----------------------------------------------------------------------------

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the prompt as the model reads it, up to the beginning of its completion.

        A last message of the assistant is continued. Raises ``RenderingError``.
        """
        tidy, tidied_tools = (
            [self._map_role(message) for message in tidy_messages(messages)],
            tidy_tools(tools),
        )
        rewrite = self._rewrite_for(tidy, tidied_tools)
        return self._apply(
            self._break_control_tokens(rewrite_messages(tidy, rewrite)),
            self._break_control_tokens(tidied_tools),
        )

    def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Return the same prompt as token ids. Raises ``RenderingError``."""
        return self.encode_text(self.render(messages, tools))

    def encode_text(self, text: str) -> list[int]:
        """Return token ids of a rendered text, without adding special tokens to those of the template."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def render_after_turn(self, messages: Sequence[Message]) -> str:
        """Return what the template writes after the end token of an assistant's turn, up to the next one.

        ``messages`` are all tool results, or all of a user. They follow a turn of the same kind in a minimal
        conversation, as in TRL: earlier turns are never rendered anew. Raises ``RenderingError``.
        """
        mark = MARK.format("")
        calls = [_build_call(n, m["name"], mark) for n, m in enumerate(messages) if m["role"] == "tool"]
        turn = {"role": "assistant", "content": ""} | ({"tool_calls": calls} if calls else {"content": mark})
        ids = [{"tool_call_id": call["id"]} for call in calls] or [{}] * len(messages)
        answers = [self._break_added_tokens(m) | own for m, own in zip(messages, ids, strict=True)]
        written = self.render([USER, turn, *answers]).partition(mark)[2]
        ends = [written.find(end) + len(end) for end in self._end_texts if end in written]
        if not ends:
            raise RenderingError("it does not end a turn with one of the model's end tokens")
        return written[min(ends) :]

    @cached_property
    def _end_texts(self) -> list[str]:
        return [str(self.tokenizer.decode([token])) for token in self.end_ids]

    @cached_property
    def _added_tokens(self) -> list[str]:
        """Added tokens that look like marks of a template, longest first: an observation has none of them."""
        added = self.tokenizer.added_tokens_decoder.values()
        found = {str(token) for token in added if token.special or str(token).startswith(("<", "["))}
        return sorted(found, key=lambda token: (-len(token), token))

    def _break_added_tokens(self, message: Message) -> Message:
        content = str(message["content"])
        for token in self._added_tokens:
            content = content.replace(token, f"{token[:1]} {token[1:]}")
        return message | {"content": content}

    def _apply(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Apply the template. Raises ``RenderingError`` with the template's own message."""
        prefill = bool(messages) and is_prefill(messages) and "add_generation_prompt" not in options
        ends = {"continue_final_message": True} if prefill else {"add_generation_prompt": True}
        content = [self._with_parts(message) for message in messages] if self.takes_parts else list(messages)
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    content, tools=list(tools) or None, tokenize=False, **(ends | options), **self.arguments
                )
            )
        except Exception as error:  # templates are code of the model's authors and raise any exception
            raise RenderingError(str(error) or type(error).__name__) from error

    @staticmethod
    def _with_parts(message: Message) -> Message:
        if "content" not in message:
            return message
        return message | {"content": [{"type": "text", "text": message["content"]}]}

    @cached_property
    def takes_parts(self) -> bool:
        """True if the template shows typed parts only, as templates of vision models do."""
        mark = MARK.format("")
        if mark in self._probe_content(mark):
            return False
        return mark in self._probe_content([{"type": "text", "text": mark}])

    def _probe_content(self, content: Any) -> str:
        """Return the prompt of one user message with this content; empty if the template refuses it."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                    **self.arguments,
                )
            )
        except Exception:  # a template that refuses the probe does not support its content
            return ""

    # --- features of the template ------------------------------------------------------------------

    def _map_role(self, message: Message) -> Message:
        if message.get("role") == "developer" and not self.knows_developer:
            return message | {"role": "system"}
        return message

    @cached_property
    def knows_developer(self) -> bool:
        """True if the template knows the role ``developer`` and does not merely write the role's name."""
        prompt, echo = (
            self._apply_probe([{"role": role, "content": MARK.format("")}, USER])
            for role in ("developer", UNKNOWN_ROLE)
        )
        return MARK.format("") in prompt and prompt.lower() != echo.lower().replace(UNKNOWN_ROLE, "developer")

    @cached_property
    def shows_tools(self) -> bool:
        """True if the prompt contains a tool's name."""
        return "zztool" in self._apply_probe([USER], [TOOL])

    def _apply_probe(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        try:
            return self._apply(messages, tools)
        except RenderingError:
            return ""

    def _rewrite_for(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Rewrite:
        """Return the first rewrite with which the template shows every part of such a conversation.

        Raises ``RenderingError`` that names what no rewrite shows.
        """
        shape = (*(_shape(message) for message in messages), bool(tools))
        if shape not in self._rewrites:
            self._rewrites[shape] = self._find_rewrite(messages, [TOOL] if tools else [])
        return self._rewrites[shape]

    def _find_rewrite(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Rewrite:
        marked = [_mark_message(number, message) for number, message in enumerate(messages)]
        reasons: list[str] = []
        for rewrite in _list_rewrites(messages):
            try:
                prompt = self._apply(rewrite_messages(marked, rewrite), tools)
            except RenderingError as error:
                reasons.append(f"it says: {error}")
                continue
            missing = _find_missing(prompt, marked, tools, rewrite)
            if not missing:
                return rewrite
            reasons.append(f"{LEAVES_OUT} {missing}")
        raise RenderingError(next((reason for reason in reasons if LEAVES_OUT in reason), reasons[0]))

    # --- control tokens --------------------------------------------------------------------------

    @cached_property
    def control_tokens(self) -> list[str]:
        """Special tokens that the template puts between turns, longest first."""
        turns = [{"role": "system", "content": "a"}, USER, {"role": "assistant", "content": "b"}, USER]
        written = self._apply_probe(turns) or self._apply_probe(turns[1:])
        special = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        ends = {self.tokenizer.decode([token]) for token in self.end_ids}
        found = {token for token in special if token in written or token in ends}
        return sorted(found, key=lambda token: (-len(token), token))

    def _break_control_tokens(self, value: Any) -> Any:
        """Break up control tokens in the texts of ``value``: a text must not begin a new turn."""
        if isinstance(value, str):
            for token in self.control_tokens:
                value = value.replace(token, f"{token[:1]} {token[1:]}")
            return value
        if isinstance(value, Mapping):
            return {key: self._break_control_tokens(part) for key, part in value.items()}
        return [self._break_control_tokens(part) for part in value] if isinstance(value, list) else value

    # --- from the model --------------------------------------------------------------------------

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a completion with all its special tokens except those that end it."""
        length = len(ids)
        ends = {*self.end_ids, self.tokenizer.pad_token_id}
        while length and ids[length - 1] in ends:
            length -= 1
        text = self.tokenizer.decode(
            list(ids[:length]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    def parse(self, prompt: str, ids: Sequence[int]) -> Completion:
        """Return what graders see of a completion to a rendered prompt, and its thoughts separately."""
        return self.split(prompt, self.decode(ids))

    def split(self, prompt: str, text: str) -> Completion:
        """``parse`` for a completion in text."""
        if self.markers is None:
            return Completion(text)
        final, thoughts = split_thoughts(text, self.markers, self.opens_thoughts(prompt))
        return Completion(text if self.grade == "whole" else final, thoughts)

    def parse_ids(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Completion:
        """``parse`` for a prompt in token ids."""
        return self.parse(self.decode_tail(prompt_ids), ids)

    def decode_tail(self, prompt_ids: Sequence[int]) -> str:
        """Return the end of a prompt as text, including what the template writes after the last turn."""
        return str(self.tokenizer.decode(list(prompt_ids[-TAIL_TOKENS:]), skip_special_tokens=False))

    def add_thoughts(self, prompt: str, completion: str, reasoning: str = "") -> str:
        """Return the completion as the model would have written it: after its thoughts, even empty ones."""
        opened = self.opens_thoughts(prompt)
        if self.markers is None or self.markers.close in completion or not (opened or reasoning):
            return completion
        begin = "" if opened else f"{self.markers.open}\n"
        return f"{begin}{reasoning}\n{self.markers.close}\n\n{completion}"

    def get_separate_thoughts(self, completion: Completion) -> str:
        """Return the thoughts that are not part of the completion's text."""
        return completion.reasoning if self.grade == "final" else ""

    def opens_thoughts(self, prompt: str) -> bool:
        """Return True if the prompt ends inside thoughts, as templates of thinking models write it."""
        if self.markers is None:
            return False
        ends = [prompt.rfind(token) + len(token) for token in self.control_tokens if token in prompt]
        if not ends:
            return prompt.rstrip().endswith(self.markers.open)
        return is_open(prompt[max(ends) :], self.markers)

    @cached_property
    def markers(self) -> Markers | None:
        """Markers around the model's thoughts; ``None`` for a model that is not known to think."""
        added = self.tokenizer.get_added_vocab()
        prompt = "".join(self._probe_switch(switch) for switch in SWITCHES)
        for markers in KNOWN:
            tokens = [any(text.startswith(t) for t in added) for text in (markers.open, markers.close)]
            if markers.open in prompt or all(tokens):
                return markers
        return None

    def _probe_switch(self, switch: Mapping[str, Any]) -> str:
        """Render a prompt and a finished turn with thoughts, with one template argument."""
        finished = [USER, {"role": "assistant", "content": "a", "reasoning_content": "b"}]
        options = {**switch, **self.arguments}
        rendered = ""
        for messages, generates in (([USER], True), (finished, False)):
            with suppress(Exception):  # a template that refuses the probe does not support it
                rendered += str(
                    self.tokenizer.apply_chat_template(
                        messages, tokenize=False, add_generation_prompt=generates, **options
                    )
                )
        return rendered

    def find_generation_prefix(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return what the generation prompt already contains of the completion, such as ``<think>``.

        That is the part of the prompt that a finished turn does not start with (TRL issue 6966).
        """
        mark = MARK.format("")
        prompt = self.render(messages)
        finished = [*messages, {"role": "assistant", "content": mark}]
        try:
            turn = self._apply(tidy_messages(finished), [], add_generation_prompt=False)
        except RenderingError:
            return ""
        header = turn.split(mark)[0]
        return prompt[len(header) :] if prompt.startswith(header) else ""

    def find_end_of_turn(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Return the token of ``end_ids`` that the template writes after a completion."""
        mark = MARK.format("")
        try:
            finished = [*tidy_messages(messages), {"role": "assistant", "content": mark}]
            after = self._apply(finished, [], add_generation_prompt=False).split(mark)[-1]
        except RenderingError:
            after = ""
        return next((token for token in self.encode_text(after) if token in self.end_ids), self.end_ids[-1])


def _build_call(number: int, name: str, mark: str) -> Message:
    """Return a call whose id suits Mistral's templates, which demand nine characters."""
    function = {"name": name, "arguments": {ARGUMENT: mark}}
    return {"id": f"zzcall{number:03}", "type": "function", "function": function}


def _shape(message: Message) -> tuple[object, ...]:
    """Return the features of a message on which the choice of a rewrite depends."""
    calls = message.get("tool_calls") or []
    kinds = tuple(isinstance(call["function"]["arguments"], str) for call in calls)
    return (
        message.get("role"),
        "content" in message,
        bool(message.get("content")),
        kinds,
        tuple(sorted(message)),
    )


def _mark_message(number: int, message: Message) -> Message:
    """Replace a message's content and its functions' names and arguments by marks."""
    marked = dict(message)
    if message.get("content"):
        marked["content"] = MARK.format(number)
    if calls := message.get("tool_calls"):
        function = {"name": f"zztool{number}", "arguments": {ARGUMENT: "zzvalue"}}
        marked["tool_calls"] = [call | {"function": call["function"] | function} for call in calls]
    return marked


def _list_rewrites(messages: Sequence[Message]) -> Iterator[Rewrite]:
    """Yield the rewrites that change something in such a conversation, the simplest first."""
    systems = [index for index, message in enumerate(messages) if message.get("role") == "system"]
    folds = ["none"] + (["later"] if any(systems) and systems != [0] else []) + (["all"] if systems else [])
    arguments = ["object", "text"] if any(message.get("tool_calls") for message in messages) else ["object"]
    empties = [False, True] if any("content" not in message for message in messages) else [False]
    for fold, kind, empty in product(folds, arguments, empties):
        yield Rewrite(fold, kind, empty)  # type: ignore[arg-type]


def _find_missing(
    prompt: str, marked: Sequence[Message], tools: Sequence[Mapping[str, Any]], rewrite: Rewrite
) -> str:
    """Describe a part that is missing in the prompt; empty if all parts are there."""
    for number, message in enumerate(marked):
        calls = message.get("tool_calls") or []
        if message.get("content") and not calls and MARK.format(number) not in prompt:
            return f"message {number + 1}, whose role is {message['role']}"
        if calls and not _shows_call(prompt, number, rewrite):
            return f"the tool calls of message {number + 1}"
    if any(name not in prompt for name in tool_names(tools)):
        return "the tools"
    return ""


def _shows_call(prompt: str, number: int, rewrite: Rewrite) -> bool:
    """Return True if the prompt has name and arguments, not in Python's syntax or as JSON within JSON."""
    garbled = f"'{ARGUMENT}'" if rewrite.arguments == "object" else f'\\"{ARGUMENT}'
    return f"zztool{number}" in prompt and ARGUMENT in prompt and garbled not in prompt
