"""A job of two tasks, one of them played in an environment, in the sandbox and with real training."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.course import without_clocks
from tests.workers.engine_jobs import GRADER, events_of, of_type, rows, run_engine, small_spec, write_split

SOURCE = '''
class Talk:
    """The scripted user names a word; the reward is the share of turns that contain it, 0.1 for nothing."""

    system_prompt = ""
    max_tool_calls = 5

    @classmethod
    def list_splits(cls):
        return ["train"]

    @classmethod
    def list_tasks(cls, split):
        return [{"word": "red"}]

    def reset(self, word):
        self.word, self.heard = word, []
        return "a " + word

    def _user(self, message):
        self.heard.append(message.split())
        return None if len(self.heard) == 3 else "b " + self.word

    def get_reward(self):
        return 0.1 + sum(self.word in words for words in self.heard) / 3

    def _feedback(self):
        return self.word
'''
WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "red", "blue", "green", "cold"]


def talks(words: list[str]) -> list[dict[str, Any]]:
    asked = {word: [{"role": "user", "content": f"a {word}"}] for word in words}
    return [
        {"row_id": f"talk-{word}", "messages": messages, "item": {"word": word}, "task": "talk"}
        for word, messages in asked.items()
    ]


def says(first: int, number: int) -> list[dict[str, Any]]:
    return [
        row | {"row_id": f"says-{row['row_id']}", "task": "says"} for row in rows(20)[first : first + number]
    ]


def mixed_spec(folder: Path, model: Path) -> dict[str, Any]:
    spec = small_spec(folder, model)
    for split, words, first in (
        ("train", WORDS[:8], 0),
        ("validation", WORDS[8:10], 8),
        ("test", WORDS[10:], 12),
    ):
        content = talks(words) + says(first, len(words))
        spec["dataset"][split] = write_split(folder, split, content)
    environment = {"type": "python", "source": SOURCE}
    parts = {"outcome": {"type": "environment"}, "short": {"type": "regex", "pattern": "^user|^assistant"}}
    grader = {"type": "multi", "graders": parts, "calculate_output": "outcome + 0.1 * short"}
    spec["tasks"] = {
        "talk": {"grader": grader, "grader_sha256": "t", "environment": environment},
        "says": {"grader": GRADER, "grader_sha256": "s"},
    }
    spec["grpo"] |= {"max_steps": 6, "checkpoint_every": 2, "max_completion_length": 24}
    spec["episode"] = {"max_turns": 5}
    spec["evaluation"] |= {"every": 0}
    spec["preflight"] = {"rows": 2, "samples_per_row": 2, "on_no_go": "go_on"}
    return spec


def course(out: Path, after: int) -> dict[Any, Any]:
    """Return metrics, rollouts and evaluation of later steps, without clock times."""
    found: dict[Any, Any] = {}
    for event in events_of(out):
        if event.type == "metrics":
            found["metrics", event.step] = without_clocks(event.values)
        elif event.type in ("rollouts", "evaluation"):
            found[event.type, event.step, getattr(event, "task", "")] = drop_seconds(
                event.model_dump(exclude={"time"})
            )
    return {key: value for key, value in found.items() if key[1] > after}


def drop_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: drop_seconds(part) for key, part in value.items() if key != "seconds"}
    return [drop_seconds(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> tuple[Path, Path]:
    """The spec of a finished job and its folder."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "spec.json").write_text(json.dumps(mixed_spec(folder, model_folder)))
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    return folder / "spec.json", folder / "out"


def test_a_mixed_job_records_the_turns_of_its_episodes_and_leaves_other_rows_as_they_are(mixed):
    events = events_of(mixed[1])
    steps = of_type(events, "rollouts")
    assert len(steps) == 6
    for step in steps:
        for rollout in step.rollouts:
            assert (rollout.episode is not None) is (rollout.task == "talk")
            if rollout.episode is None:
                continue
            turns = rollout.episode.turns
            assert rollout.completion == rollout.episode.transcript()
            assert rollout.length == sum(turn.tokens for turn in turns if turn.role == "assistant")
            assert {turn.content for turn in turns if turn.role == "user"} <= {f"b {rollout.row_id[5:]}"}
            assert rollout.sub_rewards["talk/outcome"] == rollout.episode.reward
            assert rollout.explanation.startswith(f"outcome: {rollout.row_id[5:]}")
    ends = {r.episode.end for step in steps for r in step.rollouts if r.episode}
    assert ends == {"answered", "token_limit"}
    metrics = of_type(events, "metrics")[0].values
    assert metrics["sampling/logp_gap"] < 1e-4
    assert metrics["time/environment"] > 0
    assert metrics["episodes/determinism_failures"] == 0
    assert 1 <= metrics["episodes/turns"] <= 3


def test_both_sides_of_an_evaluation_play_the_same_tasks(mixed):
    after = next(e for e in of_type(events_of(mixed[1]), "evaluation") if e.stage == "after" and not e.task)
    for row in after.details:
        for sample in row.base + row.tuned:
            assert (sample.episode is not None) is row.row_id.startswith("talk")
            if sample.episode:
                assert sample.episode.feedback == row.item["word"]


def test_the_preflight_plays_and_names_what_is_wrong_with_the_environment(mixed):
    preflight = of_type(events_of(mixed[1]), "preflight")[0]
    assert any(sample.episode for sample in preflight.samples)
    assert preflight.verdict == "change_environment"
    assert "0.10" in preflight.reason
    assert preflight.remedy == "Let get_reward return 0.0 until the task is done."


def test_a_job_killed_during_episodes_and_resumed_equals_the_undisturbed_one_bit_for_bit(mixed, tmp_path):
    spec, whole = mixed
    command = [sys.executable, "-m", "workers.engine", "run", spec, "--out", tmp_path / "killed"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as killed:
        deadline = time.monotonic() + 120
        events = tmp_path / "killed" / "events.jsonl"
        while not events.exists() or '"type":"metrics","step":3' not in events.read_text():
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
    checkpoint = tmp_path / "killed" / "checkpoints" / "step-2"
    assert run_engine("run", spec, "--out", tmp_path / "resumed", "--resume", checkpoint) == 0
    assert course(tmp_path / "resumed", 2) == course(whole, 2)
    name = Path("package") / "adapter_model.safetensors"
    assert (tmp_path / "resumed" / name).read_bytes() == (whole / name).read_bytes()
