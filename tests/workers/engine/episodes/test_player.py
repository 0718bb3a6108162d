"""Episodes are played as the environment and the limits say, and keep exactly the sampled tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.workers.tool_models import Counter, InProcess, qwen_model, qwen_tokenizer
from workers.contract.environments import EpisodeSettings
from workers.engine.episodes import player as playing
from workers.engine.episodes.episode import PlayedEpisode
from workers.engine.episodes.player import Player
from workers.engine.episodes.writers import TurnSampling
from workers.engine.errors import EngineError
from workers.engine.fast.sessions import WrittenTurn
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.environments.backend import SessionLost

EOS = qwen_tokenizer().eos_token_id
ADD = '<tool_call>\n{"name": "add", "arguments": {"number": 3}}\n</tool_call>'
CLOSE = '<tool_call>\n{"name": "close", "arguments": {}}\n</tool_call>'


def renderer() -> Renderer:
    return Renderer(qwen_tokenizer(), [EOS], {"enable_thinking": False})


def make_row(backend: InProcess, goal: int = 3) -> Row:
    messages = [
        {"role": "system", "content": backend.system_prompt},
        {"role": "user", "content": f"Count to {goal}."},
    ]
    return Row(f"goal-{goal}", messages, {"goal": goal}, tools=backend.list_tools())  # type: ignore[list-item]


def make_player(backend: InProcess, limit: int = 600, **settings: Any) -> Player:
    sampling = TurnSampling(renderer(), 1.0, [EOS])
    return Player.create({"": backend}, sampling, EpisodeSettings(**settings), limit)


class Script:
    """Writes given turns instead of sampling; each ends with the end token unless ``cut``."""

    gives_logps = True

    def __init__(self, *turns: str, cut: bool = False) -> None:
        self.turns, self.cut, self.number = turns, cut, 0

    def write(self, episodes: Any) -> list[WrittenTurn]:
        ids = renderer().encode_text(self.turns[self.number])
        self.number += 1
        ids = ids if self.cut else [*ids, EOS]
        return [WrittenTurn(ids[: e.room], [-1.0] * len(ids[: e.room])) for e in episodes]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(backend: InProcess, script: Script, each: int = 1, **settings: Any) -> list[PlayedEpisode]:
        monkeypatch.setattr(playing, "open_writer", lambda *_: script)
        return make_player(backend, **settings).play(None, [make_row(backend)], each)[0]  # type: ignore[arg-type]

    return run


def test_an_episode_is_the_sampled_tokens_with_the_templates_own_between_them(play):
    [episode] = play(InProcess(Counter), Script(ADD, CLOSE))
    tokenizer = qwen_tokenizer()
    text = tokenizer.decode(episode.ids)
    between = (
        "\n<|im_start|>user\n<tool_response>\nIt is 3. < |im_end|>\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert text == f"{ADD}<|im_end|>{between}{CLOSE}<|im_end|>"
    assert episode.written == renderer().encode_text(f"{ADD}<|im_end|>{CLOSE}<|im_end|>")
    assert episode.logps == [-1.0 * own for own in episode.mask]
    record = episode.record
    assert (record.end, record.reward, record.feedback) == ("finished", 1.0, "counted")
    assert [turn.role for turn in record.turns] == ["assistant", "tool", "assistant", "tool"]
    assert [turn.tokens for turn in record.turns][:2] == [episode.mask.index(0), episode.mask.count(0)]
    assert str(episode.completion) == record.transcript()


@pytest.mark.parametrize(
    ("script", "limits", "end", "reward"),
    [
        (Script("three"), {}, "answered", 0.0),
        (Script(ADD, "done"), {}, "answered", 1.0),
        (Script(ADD, ADD), {"max_turns": 2}, "turn_limit", 0.0),
        (Script(ADD, ADD + CLOSE), {"max_tool_calls": 2}, "call_limit", 0.0),
        (Script(CLOSE + ADD), {}, "finished", 0.0),
        (Script(ADD, cut=True), {}, "token_limit", 0.0),
        (Script(ADD), {"limit": 90}, "token_limit", 1.0),
    ],
)
def test_each_end_has_its_name(play, script, limits, end, reward):
    [episode] = play(InProcess(Counter), script, **limits)
    assert (episode.record.end, episode.record.reward) == (end, reward)
    assert episode.truncated is (end == "token_limit")
    assert len(episode.ids) <= limits.get("limit", 600)


def test_after_the_first_terminal_call_others_are_refused(play):
    backend = InProcess(Counter)
    [episode] = play(backend, Script(CLOSE + ADD))
    assert backend.opened[0].object.value == 0
    assert [(turn.tool, turn.error) for turn in episode.record.turns[1:]] == [
        ("close", ""),
        ("add", "refused"),
    ]


def test_a_call_that_cannot_be_read_is_answered_with_the_reason(play):
    broken = '<tool_call>\n{"name": "add", "arguments": \n</tool_call>'
    unknown = '<tool_call>\n{"name": "multiply", "arguments": {}}\n</tool_call>'
    [episode] = play(InProcess(Counter), Script(broken, unknown, "three"))
    turns = episode.record.turns
    assert (turns[0].tool_calls[0].arguments, turns[0].tool_calls[0].text) == (
        None,
        '{"name": "add", "arguments":',
    )
    assert turns[1].content.startswith("Error: this is no tool call")
    assert "multiply" in turns[3].error


def test_the_user_replies_until_there_is_nothing_left_to_say(play):
    [episode] = play(InProcess(Counter, says=("Which number?",)), Script("hello", "three"))
    assert [(turn.role, turn.content) for turn in episode.record.turns] == [
        ("assistant", "hello"), ("user", "Which number?"), ("assistant", "three"),
    ]  # fmt: skip
    assert "<|im_start|>user\nWhich number?<|im_end|>" in qwen_tokenizer().decode(episode.ids)


def test_all_episodes_call_their_tools_together_and_every_session_is_closed(play):
    backend = InProcess(Counter, lost=2)
    episodes = play(backend, Script(ADD, CLOSE), each=4)
    assert backend.batches == [3, 3]
    assert [episode.record.end for episode in episodes] == [
        "finished",
        "finished",
        "session_lost",
        "finished",
    ]
    assert (episodes[2].record.reward, episodes[2].mask) == (None, [0])
    assert [playing.closed for playing in backend.opened] == [1, 1, 0, 1]


def test_a_session_that_dies_in_a_call_ends_its_own_episode_alone(play):
    class Dying(Counter):
        def close(self) -> str:
            """Close the counter."""
            raise SessionLost("time")

    [episode] = play(InProcess(Dying), Script(ADD, CLOSE))
    assert (episode.record.end, episode.record.reward) == ("session_lost", None)
    assert [turn.role for turn in episode.record.turns] == ["assistant", "tool", "assistant"]


def test_a_long_observation_is_cut_and_says_so(play):
    class Wordy(Counter):
        def add(self, number: int) -> str:
            """Add to the counter.

            Args:
                number: what to add.
            """
            return "x" * 5000

    [episode] = play(InProcess(Wordy), Script(ADD, "three"), max_observation_characters=100)
    assert episode.record.turns[1].content == "x" * 100 + " … [4900 more characters]"


def test_a_prompt_that_is_not_the_datasets_is_refused_by_name(play):
    class Moody(Counter):
        def reset(self, goal: int, **_: Any) -> str:
            super().reset(goal)
            return "Guess."

    with pytest.raises(EngineError) as raised:
        play(InProcess(Moody), Script())
    assert raised.value.code == "environment_changed"
    assert "goal-3" in raised.value.message


@pytest.mark.parametrize("known", [True, False], ids=["cached", "plain"])
def test_a_sampled_episode_has_the_models_own_log_probabilities(known, monkeypatch):
    """A scripted user answers any text, so a random model plays several turns."""
    monkeypatch.setattr("workers.engine.episodes.writers.is_known", lambda _: known)
    model, backend = qwen_model().eval(), InProcess(Counter, says=("Yes?", "And?"))
    model.lm_head.weight.data[EOS] *= 0
    rows = [make_row(backend, goal) for goal in (3, 12)]
    torch.manual_seed(5)
    player = make_player(backend, limit=200)
    groups = player.play(model, rows, 3)
    prompts = [player.sampling.renderer.encode(row.messages, row.tools) for row in rows]
    ends = {episode.record.end for group in groups for episode in group}
    assert ends <= {"answered", "token_limit"}
    for prompt, group in zip(prompts, groups, strict=True):
        for episode in group:
            assert len(episode.ids) == len(episode.mask) <= 200
            assert sum(episode.mask) == sum(t.tokens for t in episode.record.turns if t.role == "assistant")
            if not known:
                assert episode.logps is None
                continue
            with torch.no_grad():
                logits = model(torch.tensor([prompt + episode.ids])).logits[0, len(prompt) - 1 : -1]
            own = logits.log_softmax(-1)[range(len(episode.ids)), episode.ids] * torch.tensor(episode.mask)
            assert episode.logps == pytest.approx(own.tolist(), abs=1e-4)
    assert json.loads(groups[0][0].record.model_dump_json())["end"] in ends
