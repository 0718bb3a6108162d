"""One episode: its tokens, its turns, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.contract.environments import EndReason, EpisodeRecord, EpisodeSettings, ToolCall, Turn
from workers.engine.episodes.turns import TurnText
from workers.engine.fast.sessions import WrittenTurn
from workers.engine.prompts.data import Row
from workers.environments.backend import Backend, Call, Score, Session, ToolResult
from workers.grading.sample import Completion

NO_CALL = "Error: this is no tool call. Write one JSON object with the tool's name and its arguments."
REFUSED_ERROR = "refused"
REFUSED = "Error: the episode has ended; this call was not made."
CUT = " … [{} more characters]"


@dataclass(frozen=True)
class PlayedEpisode:
    """A finished episode. ``mask`` is 1 for tokens that the model wrote; ``logps`` are 0 for all others.

    ``logps`` is ``None`` if the sampler does not give them.
    """

    ids: list[int]
    mask: list[int]
    logps: list[float] | None
    record: EpisodeRecord

    @property
    def written(self) -> list[int]:
        """The tokens that the model wrote."""
        return [token for token, own in zip(self.ids, self.mask, strict=True) if own]

    @property
    def truncated(self) -> bool:
        """True if the tokens did not suffice."""
        return self.record.end == "token_limit"

    @property
    def completion(self) -> Completion:
        """What graders get."""
        thoughts = [turn.reasoning for turn in self.record.turns if turn.reasoning]
        return Completion(self.record.transcript(), "\n\n".join(thoughts), self.record)


@dataclass(eq=False)
class Episode:
    """An episode in progress. ``added`` are the tokens that the next turn follows.

    The environment's limit of calls counts all calls that the model wrote, also those that failed.
    """

    row: Row
    prompt: list[int]
    backend: Backend
    text: TurnText
    settings: EpisodeSettings
    limit: int
    session: Session | None = None
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    added: list[int] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    end: EndReason | None = None
    score: Score = field(default_factory=lambda: Score(None))
    _written: int = 0
    _called: int = 0
    _answers: list[Turn] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Tokens that the next turn may have."""
        return self.limit - len(self.ids) - len(self.added)

    def add_turn(self, turn: WrittenTurn, eos_ids: list[int]) -> None:
        """Add a turn of the model. Afterwards ``calls`` are those to make; without any, a user may reply."""
        before = self.added or self.prompt
        read = self.text.read(before, turn.ids)
        self._extend(self.added, [0.0] * len(self.added), 0)
        self._extend(turn.ids, turn.logps, 1)
        self.turns.append(read)
        self._written += 1
        self.added, self.calls, self._answers = [], list(read.tool_calls), []
        if turn.ids[-1] not in eos_ids:
            self.end, self.calls = "token_limit", []

    def _extend(self, ids: list[int], logps: list[float], own: int) -> None:
        self.ids += ids
        self.mask += [own] * len(ids)
        self.logps += logps

    def take_call(self) -> Call | None:
        """Remove the next call and return it; ``None`` if it cannot be made, which is its result then."""
        call = self.calls.pop(0)
        self._called += 1
        if call.arguments is not None and self.session is not None:
            return Call(self.session, call.name, call.arguments)
        self.add_result(call.name, ToolResult(NO_CALL, error="not a JSON object with name and arguments"))
        return None

    def add_result(self, name: str, result: ToolResult) -> None:
        """Add the result of a call. After the first that ends the episode the others are refused."""
        self._answers.append(
            Turn(
                role="tool",
                content=self._cut(result.text),
                tool=name,
                error=result.error,
                reward=result.reward,
                seconds=result.seconds,
            )
        )
        if result.finished:
            self.end = "finished"
        elif self._called >= self._call_limit:
            self.end = "call_limit"
        if self.end:
            refused = [
                Turn(role="tool", content=REFUSED, tool=c.name, error=REFUSED_ERROR) for c in self.calls
            ]
            self._answers += refused
            self.calls = []

    def add_reply(self, text: str | None) -> None:
        """Add what the scripted user says to a turn without calls; ``None`` ends the episode."""
        if text is None:
            self.end = "answered"
        else:
            self._answers.append(Turn(role="user", content=self._cut(text)))

    def finish_turn(self) -> None:
        """Prepare the next turn, or end the episode at a limit."""
        if self.end is None and self._written >= self.settings.max_turns:
            self.end = "turn_limit"
        if self.end is None:
            self.added = self.text.encode(self._answers)
            if self.room > 0:
                self._answers[-1].tokens = len(self.added)
            else:
                self.end, self.added = "token_limit", []
        self.turns += self._answers
        self._answers = []

    def lose(self) -> None:
        """End the episode without a reward."""
        self.end, self.calls = "session_lost", []

    def finish(self, eos_id: int, with_logps: bool) -> PlayedEpisode:
        """Return the whole. An episode that was lost before its first turn has one token, not its own."""
        assert self.end is not None, "only an episode that has ended is finished"
        if not self.ids:
            self._extend([eos_id], [0.0], 0)
        record = EpisodeRecord(
            turns=self.turns + self._answers,
            end=self.end,
            reward=self.score.reward,
            metrics=self.score.metrics,
            feedback=self.score.feedback,
        )
        return PlayedEpisode(self.ids, self.mask, self.logps if with_logps else None, record)

    @property
    def _call_limit(self) -> int:
        own = self.settings.max_tool_calls
        return self.backend.max_tool_calls if own is None else min(own, self.backend.max_tool_calls)

    def _cut(self, text: str) -> str:
        most = self.settings.max_observation_characters
        return text if len(text) <= most else text[:most] + CUT.format(len(text) - most)
