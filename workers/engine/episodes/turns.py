"""An assistant's turn read from its tokens, and tokens made of what it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.contract.environments import Turn
from workers.engine.prompts.conversations import Message
from workers.engine.prompts.reasoning import split_thoughts
from workers.engine.prompts.rendering import Renderer
from workers.engine.prompts.tool_calls import CallFormat, split_calls


@dataclass(frozen=True)
class TurnText:
    """Reads and writes turns as the chat template does. Without ``form`` no text is a tool call."""

    renderer: Renderer
    form: CallFormat | None

    def read(self, before: Sequence[int], ids: Sequence[int]) -> Turn:
        """Return the turn that the model wrote after the tokens ``before``."""
        content, reasoning = self.renderer.decode(ids), ""
        if markers := self.renderer.markers:
            opened = self.renderer.opens_thoughts(self.renderer.decode_tail(before))
            content, reasoning = split_thoughts(content, markers, opened)
        content, calls = split_calls(content, self.form) if self.form else (content, [])
        return Turn(role="assistant", content=content, reasoning=reasoning, tool_calls=calls, tokens=len(ids))

    def encode(self, turns: Sequence[Turn]) -> list[int]:
        """Return the tokens from the end of an assistant's turn to its next one, with these turns between."""
        return self.renderer.encode_text(
            self.renderer.render_after_turn([_to_message(turn) for turn in turns])
        )


def _to_message(turn: Turn) -> Message:
    message: Message = {"role": turn.role, "content": turn.content}
    return message | {"name": turn.tool} if turn.role == "tool" else message
