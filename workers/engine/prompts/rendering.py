"""The one way from a conversation to a prompt, and from token ids to a completion.

Training, preflight, evaluation, retention, control runs, the model server and exports all render here, so
that they see the same token ids. What a template can show is found by rendering marks with it, never by
reading it.
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
    rewritten,
    tidied,
    tidied_tools,
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

    ``grade`` says what graders see of a completion with thoughts: the final answer, or the whole.
    """

    tokenizer: PreTrainedTokenizerBase
    end_ids: Sequence[int] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    grade: Literal["final", "whole"] = "final"
    _rewrites: dict[tuple[Any, ...], Rewrite] = field(default_factory=dict, repr=False)

    # --- to the model ----------------------------------------------------------------------------

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt as the model reads it, up to where its completion begins.

        A last message of the assistant is continued. Raises ``RenderingError``.
        """
        tidy, offered = [self._known_role(message) for message in tidied(messages)], tidied_tools(tools)
        rewrite = self._rewrite_for(tidy, offered)
        return self._apply(self._unforged(rewritten(tidy, rewrite)), self._unforged(offered))

    def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """The same prompt as token ids. Raises ``RenderingError``."""
        return self.encode_text(self.render(messages, tools))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a rendered text: the template's own special tokens, none added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _apply(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The template's text. Raises ``RenderingError`` with the template's own words."""
        prefill = bool(messages) and is_prefill(messages) and "add_generation_prompt" not in options
        ends = {"continue_final_message": True} if prefill else {"add_generation_prompt": True}
        shown = [self._with_parts(message) for message in messages] if self.takes_parts else list(messages)
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    shown, tools=list(tools) or None, tokenize=False, **(ends | options), **self.arguments
                )
            )
        except Exception as error:  # templates are code of the model's makers and raise what they like
            raise RenderingError(str(error) or type(error).__name__) from error

    @staticmethod
    def _with_parts(message: Message) -> Message:
        if "content" not in message:
            return message
        return message | {"content": [{"type": "text", "text": message["content"]}]}

    @cached_property
    def takes_parts(self) -> bool:
        """True if the template shows typed parts only, as those of models that see images do."""
        mark = MARK.format("")
        if mark in self._try(mark):
            return False
        return mark in self._try([{"type": "text", "text": mark}])

    def _try(self, content: Any) -> str:
        """The prompt of one user message with this content; empty if the template refuses."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                    **self.arguments,
                )
            )
        except Exception:  # a template that refuses a probe does not know what it asks
            return ""

    # --- what a template knows -------------------------------------------------------------------

    def _known_role(self, message: Message) -> Message:
        if message.get("role") == "developer" and not self.knows_developer:
            return message | {"role": "system"}
        return message

    @cached_property
    def knows_developer(self) -> bool:
        """True if ``developer`` is a role of the template's own, not any word that it writes out."""
        shown, echo = (
            self._apply_probe([{"role": role, "content": MARK.format("")}, USER])
            for role in ("developer", UNKNOWN_ROLE)
        )
        return MARK.format("") in shown and shown.lower() != echo.lower().replace(UNKNOWN_ROLE, "developer")

    @cached_property
    def shows_tools(self) -> bool:
        """True if a tool's name arrives in the prompt."""
        return "zztool" in self._apply_probe([USER], [TOOL])

    def _apply_probe(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        try:
            return self._apply(messages, tools)
        except RenderingError:
            return ""

    def _rewrite_for(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Rewrite:
        """The first rewrite by which the template shows every part of such a conversation.

        Raises ``RenderingError`` that names what no rewrite shows.
        """
        shape = (*(_shape(message) for message in messages), bool(tools))
        if shape not in self._rewrites:
            self._rewrites[shape] = self._find_rewrite(messages, [TOOL] if tools else [])
        return self._rewrites[shape]

    def _find_rewrite(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Rewrite:
        marked = [_marked(number, message) for number, message in enumerate(messages)]
        reasons: list[str] = []
        for rewrite in _rewrites(messages):
            try:
                shown = self._apply(rewritten(marked, rewrite), tools)
            except RenderingError as error:
                reasons.append(f"it says: {error}")
                continue
            missing = _missing(shown, marked, tools, rewrite)
            if not missing:
                return rewrite
            reasons.append(f"{LEAVES_OUT} {missing}")
        raise RenderingError(next((reason for reason in reasons if LEAVES_OUT in reason), reasons[0]))

    # --- control tokens --------------------------------------------------------------------------

    @cached_property
    def control_tokens(self) -> list[str]:
        """Special tokens by which the template divides turns, longest first."""
        turns = [{"role": "system", "content": "a"}, USER, {"role": "assistant", "content": "b"}, USER]
        written = self._apply_probe(turns) or self._apply_probe(turns[1:])
        special = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        ends = {self.tokenizer.decode([token]) for token in self.end_ids}
        found = {token for token in special if token in written or token in ends}
        return sorted(found, key=lambda token: (-len(token), token))

    def _unforged(self, value: Any) -> Any:
        """``value`` with control tokens in its texts broken up: a text must not begin a turn of its own."""
        if isinstance(value, str):
            for token in self.control_tokens:
                value = value.replace(token, f"{token[:1]} {token[1:]}")
            return value
        if isinstance(value, Mapping):
            return {key: self._unforged(part) for key, part in value.items()}
        return [self._unforged(part) for part in value] if isinstance(value, list) else value

    # --- from the model --------------------------------------------------------------------------

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion with all its special tokens but those that end it."""
        kept = len(ids)
        ends = {*self.end_ids, self.tokenizer.pad_token_id}
        while kept and ids[kept - 1] in ends:
            kept -= 1
        text = self.tokenizer.decode(
            list(ids[:kept]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    def read(self, prompt: str, ids: Sequence[int]) -> Completion:
        """What graders see of a completion to a rendered prompt, with its thoughts apart."""
        return self.split(prompt, self.decode(ids))

    def split(self, prompt: str, text: str) -> Completion:
        """``read`` for a completion in text."""
        if self.markers is None:
            return Completion(text)
        final, thoughts = split_thoughts(text, self.markers, self.opens_thoughts(prompt))
        return Completion(text if self.grade == "whole" else final, thoughts)

    def read_ids(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Completion:
        """``read`` for a prompt in token ids."""
        return self.read(self.tail(prompt_ids), ids)

    def tail(self, prompt_ids: Sequence[int]) -> str:
        """The end of a prompt as text, with what the template writes after the last turn."""
        return str(self.tokenizer.decode(list(prompt_ids[-TAIL_TOKENS:]), skip_special_tokens=False))

    def with_thoughts(self, prompt: str, completion: str, reasoning: str = "") -> str:
        """The completion as the model would have written it: after its thoughts, which may be empty."""
        opened = self.opens_thoughts(prompt)
        if self.markers is None or self.markers.close in completion or not (opened or reasoning):
            return completion
        begin = "" if opened else f"{self.markers.open}\n"
        return f"{begin}{reasoning}\n{self.markers.close}\n\n{completion}"

    def thoughts_apart(self, completion: Completion) -> str:
        """The thoughts that the completion does not hold itself, which pages show beside it."""
        return completion.reasoning if self.grade == "final" else ""

    def opens_thoughts(self, prompt: str) -> bool:
        """True if the prompt ends inside thoughts, as templates of thinking models write it."""
        if self.markers is None:
            return False
        ends = [prompt.rfind(token) + len(token) for token in self.control_tokens if token in prompt]
        if not ends:
            return prompt.rstrip().endswith(self.markers.open)
        return is_open(prompt[max(ends) :], self.markers)

    @cached_property
    def markers(self) -> Markers | None:
        """Between which texts the model thinks; ``None`` for a model that is not known to think."""
        added = self.tokenizer.get_added_vocab()
        shown = "".join(self._switched(switch) for switch in SWITCHES)
        for markers in KNOWN:
            tokens = [any(text.startswith(t) for t in added) for text in (markers.open, markers.close)]
            if markers.open in shown or all(tokens):
                return markers
        return None

    def _switched(self, switch: Mapping[str, Any]) -> str:
        """A prompt and a finished turn with thoughts, under one template argument."""
        finished = [USER, {"role": "assistant", "content": "a", "reasoning_content": "b"}]
        options = {**switch, **self.arguments}
        shown = ""
        for messages, generates in (([USER], True), (finished, False)):
            with suppress(Exception):  # a template that refuses a probe does not know what it asks
                shown += str(
                    self.tokenizer.apply_chat_template(
                        messages, tokenize=False, add_generation_prompt=generates, **options
                    )
                )
        return shown

    def written_ahead(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """What the generation prompt writes into the completion before the model does, such as ``<think>``.

        It is the part of the prompt that a finished turn does not start with (TRL issue 6966).
        """
        mark = MARK.format("")
        prompt = self.render(messages)
        finished = [*messages, {"role": "assistant", "content": mark}]
        try:
            turn = self._apply(tidied(finished), [], add_generation_prompt=False)
        except RenderingError:
            return ""
        header = turn.split(mark)[0]
        return prompt[len(header) :] if prompt.startswith(header) else ""

    def end_of_turn(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """The token that closes a completion: of ``end_ids``, the one that the template writes."""
        mark = MARK.format("")
        try:
            finished = [*tidied(messages), {"role": "assistant", "content": mark}]
            after = self._apply(finished, [], add_generation_prompt=False).split(mark)[-1]
        except RenderingError:
            after = ""
        return next((token for token in self.encode_text(after) if token in self.end_ids), self.end_ids[-1])


def _shape(message: Message) -> tuple[Any, ...]:
    calls = message.get("tool_calls") or []
    kinds = tuple(isinstance(call["function"]["arguments"], str) for call in calls)
    return (
        message.get("role"),
        "content" in message,
        bool(message.get("content")),
        kinds,
        tuple(sorted(message)),
    )


def _marked(number: int, message: Message) -> Message:
    """The message with marks for its content, its functions' names and their arguments."""
    made = dict(message)
    if message.get("content"):
        made["content"] = MARK.format(number)
    if calls := message.get("tool_calls"):
        function = {"name": f"zztool{number}", "arguments": {ARGUMENT: "zzvalue"}}
        made["tool_calls"] = [call | {"function": call["function"] | function} for call in calls]
    return made


def _rewrites(messages: Sequence[Message]) -> Iterator[Rewrite]:
    """Rewrites that change something in such a conversation, the plainest first."""
    systems = [index for index, message in enumerate(messages) if message.get("role") == "system"]
    folds = ["none"] + (["later"] if any(systems) and systems != [0] else []) + (["all"] if systems else [])
    arguments = ["object", "text"] if any(message.get("tool_calls") for message in messages) else ["object"]
    empties = [False, True] if any("content" not in message for message in messages) else [False]
    for fold, kind, empty in product(folds, arguments, empties):
        yield Rewrite(fold, kind, empty)  # type: ignore[arg-type]


def _missing(
    shown: str, marked: Sequence[Message], tools: Sequence[Mapping[str, Any]], rewrite: Rewrite
) -> str:
    """What does not arrive in the prompt, in words; empty if all does."""
    for number, message in enumerate(marked):
        calls = message.get("tool_calls") or []
        if message.get("content") and not calls and MARK.format(number) not in shown:
            return f"message {number + 1}, whose role is {message['role']}"
        if calls and not _shows_call(shown, number, rewrite):
            return f"the tool calls of message {number + 1}"
    if any(name not in shown for name in tool_names(tools)):
        return "the tools"
    return ""


def _shows_call(shown: str, number: int, rewrite: Rewrite) -> bool:
    """Whether name and arguments arrive, neither as Python writes an object nor as JSON within JSON."""
    garbled = f"'{ARGUMENT}'" if rewrite.arguments == "object" else f'\\"{ARGUMENT}'
    return f"zztool{number}" in shown and ARGUMENT in shown and garbled not in shown
