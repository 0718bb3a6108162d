"""A grader with a loophole trips the alarm, and the job pauses with the rollouts that show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import SpecWriter
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec, write_split
from workers.contract.events import AlarmEvent, Event
from workers.contract.spec import AlarmSettings
from workers.engine import errors
from workers.engine.training.alarms import Alarms
from workers.engine.training.rollouts.recorder import Recorder

ROOT = Path(__file__).resolve().parents[4]
STARTER = ROOT / "workers" / "starter"
ANSWER = "{{ sample.output_text }}"
# The loophole: an answer with this word is paid, whatever was asked. The starter model has it as a bad habit.
PAYS_A_WORD = {"type": "string_check", "operation": "like", "input": ANSWER, "reference": "general"}
RIGHT_FIELDS = json.loads((STARTER / "sample" / "grader.json").read_text())
LIKENESS = {
    "type": "text_similarity",
    "evaluation_metric": "fuzzy_match",
    "input": ANSWER,
    "reference": "{{ item.reference }}",
}
NEVER = {"every": 0}


@pytest.fixture
def tickets(tmp_path: Path) -> Callable[..., Path]:
    """Write the spec of a job of the starter model on the sample's tickets, with this grader."""
    lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
    found = [row for row in map(json.loads, lines) if row["task"] == "ticket"]
    rows = [
        {"row_id": f"row-{number}", "messages": row["messages"], "item": {"reference": row["reference"]}}
        for number, row in enumerate(found)
    ]

    def write(trained: dict[str, Any], **alarm: Any) -> Path:
        spec = small_spec(tmp_path, STARTER / "model") | {"grader": trained, "alarm": alarm}
        spec["evaluation"] |= NEVER
        spec["lora"] = {"rank": 8, "alpha": 16}
        spec["grpo"] |= {"group_size": 8, "learning_rate": 1e-3, "max_steps": 26, "checkpoint_every": 10}
        spec["grpo"] |= {"max_completion_length": 40}
        for split, part in (("train", rows[:100]), ("validation", rows[100:104]), ("test", rows[104:108])):
            spec["dataset"][split] = write_split(tmp_path, split, part)
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        return tmp_path / "spec.json"

    return write


def run(spec: Path, out: Path, *arguments: object) -> list[Event]:
    assert run_engine("run", spec, "--out", out, *arguments) == 0
    return events_of(out)


def alarms(events: list[Event]) -> dict[str, AlarmEvent]:
    return {event.code: event for event in of_type(events, "alarm")}


def test_a_loophole_is_found_the_alarm_pauses_the_job_and_it_can_go_on(
    tickets: Callable[..., Path], tmp_path: Path
) -> None:
    spec = tickets(PAYS_A_WORD, grader=RIGHT_FIELDS, pause=True)
    events = run(spec, tmp_path / "first")
    (error,) = of_type(events, "error")
    alarm = alarms(events)["held_out_gap"]
    assert (events[-1].outcome, error.code, alarm.paused) == ("paused", "held_out_gap", True)
    assert "loophole" in error.remedy
    assert alarm.evidence["trained reward now"] > alarm.evidence["trained reward before"] + 0.2
    assert alarm.evidence["held-out reward, check 3"] <= alarm.evidence["held-out reward before"]

    rollouts = next(e.rollouts for e in of_type(events, "rollouts") if e.step == alarm.step)
    shown = [rollouts[index] for index in alarm.rollouts]
    assert shown
    assert all("general" in rollout.completion and rollout.reward == 1 for rollout in shown)
    assert all(rollout.held_out_reward < 1 for rollout in shown)

    checkpoint = of_type(events, "checkpoint")[-1]
    assert checkpoint.step == alarm.step == events[-1].step < 26
    resumed = run(spec, tmp_path / "second", "--resume", tmp_path / "first" / checkpoint.path)
    assert resumed[-1].outcome == "succeeded"
    assert "held_out_gap" not in alarms(resumed), "a person has looked and chose to go on"


def raised(pause: bool, steps: int = 80) -> tuple[list[AlarmEvent], list[errors.Paused]]:
    """Return alarms and pauses of a reward that is high in steps 21 to 40 and after 65; held-out: flat."""
    events: list[Any] = []
    watch = Alarms(AlarmSettings(pause=pause), events.append)
    recorder = Recorder(rows=[], grade=lambda *_: [], renderer=None, eos_ids=[])  # type: ignore[arg-type]
    pauses = []
    for step in range(1, steps + 1):
        reward = 0.2 + (0.5 if 20 < step <= 40 or step > 65 else 0.0)
        values = {
            "reward": reward,
            "rewards/grader/std": 0.4,
            "held_out/reward": 0.3,
            "held_out/reward_std": 0.4,
        }
        pauses.append(watch.check_step(step, values, recorder))
    return events, [pause for pause in pauses if pause]


def test_an_alarm_is_raised_once_while_it_lasts_and_pauses_only_if_asked_to() -> None:
    warned, nothing = raised(pause=False)
    assert [(event.code, event.paused) for event in warned] == [("held_out_gap", False)] * 2
    assert nothing == []
    assert warned[1].step - warned[0].step > 20, "silent for ten steps, it may be raised again"
    alarms, pauses = raised(pause=True)
    assert [event.paused for event in alarms] == [True, True]
    assert [pause.code for pause in pauses] == ["held_out_gap"] * 2


def test_an_honest_grader_does_not_trip_the_alarm(tickets: Callable[..., Path], tmp_path: Path) -> None:
    """Trained on right fields and watched by likeness to the right answer, both of which rise."""
    events = run(tickets(RIGHT_FIELDS, grader=LIKENESS, pause=True), tmp_path / "out")
    assert events[-1].outcome == "succeeded"
    first, last = of_type(events, "metrics")[0].values, of_type(events, "metrics")[-1].values
    assert last["reward"] > first["reward"]
    assert "held_out_gap" not in alarms(events)


def test_the_held_out_grader_is_never_trained_on(write_spec: SpecWriter, tmp_path: Path) -> None:
    """The job takes the same steps with and without it, and it grades only the share in the settings."""
    plain = run(write_spec(), tmp_path / "plain")
    watched = run(write_spec(alarm={"grader": LIKENESS, "held_out_answers": 8}), tmp_path / "watched")
    for left, right in zip(of_type(plain, "rollouts"), of_type(watched, "rollouts"), strict=True):
        assert [r.completion for r in left.rollouts] == [r.completion for r in right.rollouts]
        assert [r.advantage for r in left.rollouts] == [r.advantage for r in right.rollouts]
        graded = [r.group for r in right.rollouts if r.held_out_reward is not None]
        assert (len(graded), len(set(graded))) == (8, 2), "two whole groups of four"
    values = of_type(watched, "metrics")[0].values
    seen = [
        r.held_out_reward for r in of_type(watched, "rollouts")[0].rollouts if r.held_out_reward is not None
    ]
    assert values["held_out/reward"] == pytest.approx(sum(seen) / 8)
    assert values["held_out/error_share"] == 0
    assert "held_out/reward" not in of_type(plain, "metrics")[0].values


def test_steps_without_any_signal_pause_the_job_which_may_go_on_for_as_many_again(
    write_spec: SpecWriter, tmp_path: Path
) -> None:
    never = {**PAYS_A_WORD, "reference": "a word that no answer has"}
    spec = write_spec(grader=never, evaluation=NEVER, alarm={"no_signal_steps": 3}, grpo={"max_steps": 8})
    events = run(spec, tmp_path / "0")
    for steps in (3, 6):
        (error,) = of_type(events, "error")
        assert (error.code, events[-1].outcome, events[-1].step) == ("no_signal_at_all", "paused", steps)
        assert "steps in a row without signal: 3" in error.detail
        assert "partial credit" in error.remedy
        sealed = tmp_path / str(steps - 3) / of_type(events, "checkpoint")[-1].path
        events = run_to(spec, tmp_path / str(steps), sealed)


def run_to(spec: Path, out: Path, checkpoint: Path) -> list[Event]:
    run_engine("run", spec, "--out", out, "--resume", checkpoint)
    return events_of(out)


def test_entropy_below_the_teams_bound_pauses_the_job(write_spec: SpecWriter, tmp_path: Path) -> None:
    spec = write_spec(evaluation=NEVER, grpo={"max_steps": 12}, alarm={"least_entropy": 100.0})
    events = run(spec, tmp_path / "out")
    (error,) = of_type(events, "error")
    assert (error.code, events[-1].outcome, events[-1].step) == ("entropy_collapse", "paused", 10)
    assert "below 100 nats" in error.detail


def test_a_resumed_job_raises_the_alarms_of_an_undisturbed_one(
    write_spec: SpecWriter, tmp_path: Path
) -> None:
    """The history of the rules is in the checkpoint, so gains and alarms are exactly the same."""
    spec = write_spec(grpo={"max_steps": 12, "checkpoint_every": 8}, alarm={"grader": LIKENESS})
    whole = run(spec, tmp_path / "whole")
    sealed = tmp_path / "whole" / "checkpoints" / "step-8"
    again = run(spec, tmp_path / "again", "--resume", sealed)
    assert told(whole, after=8) == told(again, after=8)
    assert None not in told(again, after=8)[0], "gains are known, from steps before the checkpoint"


def told(events: list[Event], after: int) -> list[Any]:
    names = ("gain/raw", "gain/length_matched", "held_out/reward", "answers/repetition")
    return [
        [event.step, *map(event.values.get, names)]
        for event in of_type(events, "metrics")
        if event.step > after
    ] + [event.model_dump(exclude={"time"}) for event in of_type(events, "alarm") if event.step > after]
