"""Models that think first: recognised by rendering, graded by their final answer or by all they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import SpecWriter
from tests.workers.engine.test_rendering import bundled, renderer
from tests.workers.engine_jobs import events_of, of_type, run_engine, tiny_model, tiny_tokenizer
from workers.contract.graders import PythonGrader
from workers.contract.spec import BaseModelRef, ChatSettings
from workers.engine.prompts.reasoning import KNOWN, Markers, split_thoughts
from workers.grading import open_grader
from workers.grading.sample import Completion

THINK, MAGISTRAL, GPT_OSS = KNOWN[0], KNOWN[1], KNOWN[2]
QUESTION = [{"role": "user", "content": "a b"}]
OPENS = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <turn> {% endfor %}"
    "{% if add_generation_prompt %}assistant {% if enable_thinking is not defined or enable_thinking %}"
    "<think> {% else %}<think> </think> {% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("markers", "opened", "text", "final", "thoughts"),
    [
        (THINK, True, "so 4\n</think>\n\nIt is 4.", "It is 4.", "so 4"),
        (THINK, False, "<think>\nso 4\n</think>\n\nIt is 4.", "It is 4.", "so 4"),
        (THINK, False, "so 4\n</think>\n\nIt is 4.", "It is 4.", "so 4"),
        (THINK, True, "so 4, or perhaps", "", "so 4, or perhaps"),
        (THINK, False, "<think>so 4, or perhaps", "", "so 4, or perhaps"),
        (THINK, False, "It is 4.", "It is 4.", ""),
        (THINK, True, "\n</think>\n\nIt is 4.", "It is 4.", ""),
        (THINK, False, "<think>a</think>first <think>b</think>last", "first last", "a\n\nb"),
        (MAGISTRAL, False, "[THINK]so 4[/THINK]4", "4", "so 4"),
        (
            GPT_OSS,
            False,
            "<|channel|>analysis<|message|>so 4<|end|><|start|>assistant<|channel|>final<|message|>4",
            "4",
            "so 4",
        ),
        (GPT_OSS, False, "<|channel|>final<|message|>4", "4", ""),
        (GPT_OSS, False, "<|channel|>analysis<|message|>so", "", "so"),
    ],
)
def test_thoughts_are_kept_apart(
    markers: Markers, opened: bool, text: str, final: str, thoughts: str
) -> None:
    assert split_thoughts(text, markers, opened) == (final, thoughts)


@pytest.mark.parametrize(
    ("name", "arguments", "opened"),
    [
        ("deepseek_r1_distill", {}, True),
        ("deepseekv3", {}, True),
        ("qwen3", {}, False),
        ("qwen3", {"enable_thinking": False}, False),
        ("qwen3_5_think", {}, True),
        ("qwen3_5_think", {"enable_thinking": False}, False),
        ("qwen3_5_nothink", {}, False),
        ("qwen3_5_nothink", {"enable_thinking": True}, True),
        ("qwen3_6", {}, True),
        ("qwen3_8", {}, True),
        ("qwen3_8", {"enable_thinking": False}, False),
        ("nemotron_3_nano", {}, True),
        ("nemotron_3_super", {}, True),
        ("nemotron_3_ultra", {}, True),
        ("nemotron_3_5_lightning", {}, True),
        ("nemotron_3_nano", {"enable_thinking": False}, False),
        ("glm4moe", {}, False),
        ("gptoss", {}, False),
        ("gemma4_v5", {"enable_thinking": True}, False),
    ],
)
def test_templates_of_thinking_models_are_recognised(
    name: str, arguments: dict[str, Any], opened: bool
) -> None:
    made = bundled(name)
    made.arguments = arguments
    prompt = made.render(QUESTION)
    assert made.markers is not None
    assert made.opens_thoughts(prompt) == opened, prompt[-80:]


@pytest.mark.parametrize("name", ["qwen2_5", "llama3_1", "gemma3", "phi3"])
def test_other_models_are_left_alone(name: str) -> None:
    """A model that learns such tags from its instructions is graded on them: R1-Zero's reward."""
    made = bundled(name)
    assert made.markers is None
    assert made.split("", "<think>so</think>4") == "<think>so</think>4"


def test_arguments_reach_the_template() -> None:
    made = bundled("gptoss")
    made.arguments = {"reasoning_effort": "low"}
    assert "Reasoning: low" in made.render(QUESTION)


@pytest.mark.parametrize(
    "arguments", [{"messages": []}, {"tokenize": True}, {"not a name": 1}, {"a": "x" * 5000}]
)
def test_arguments_that_rendering_uses_itself_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="template argument"):
        ChatSettings(template_arguments=arguments)
    with pytest.raises(ValueError, match="template argument"):
        BaseModelRef(id="x", template_arguments=arguments)


def test_a_prompt_that_speaks_of_tags_opens_no_thoughts() -> None:
    made = renderer(OPENS)
    made.arguments = {"enable_thinking": False}
    assert not made.opens_thoughts(made.render([{"role": "user", "content": "write <think> first"}]))


def test_a_prefill_can_begin_thoughts() -> None:
    made = bundled("qwen2_5")
    made.__dict__["markers"] = THINK
    prefilled = [*QUESTION, {"role": "assistant", "content": "<think>\nLet me"}]
    tokenizer: Any = made.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert made.opens_thoughts(made.render(prefilled))


def test_demonstrations_follow_thoughts_that_the_prompt_opens() -> None:
    made = renderer(OPENS)
    prompt = made.render(QUESTION)
    assert made.split(prompt, made.add_thoughts(prompt, "4")) == "4"
    whole = made.add_thoughts(prompt, "4", "so 4")
    assert (made.split(prompt, whole), made.split(prompt, whole).reasoning) == ("4", "so 4")


def test_graders_read_thoughts_by_name() -> None:
    source = (
        "def grade(sample, item):\n    return len(sample['reasoning']) / 100 + (sample['output_text'] == '4')"
    )
    answers = [(Completion("4", "so 4"), {}), ("4", {})]
    with open_grader(PythonGrader(source=source)) as grade:
        assert [result.reward for result in grade(answers)] == [1.04, 1.0]


@pytest.mark.parametrize("grade", ["final", "whole"])
def test_a_job_grades_what_was_chosen(write_spec: SpecWriter, tmp_path: Path, grade: str) -> None:
    """The tiny model never closes its thoughts, so that its final answers are empty."""
    folder = tmp_path / "model"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = OPENS
    tokenizer.save_pretrained(folder)
    tiny_model().save_pretrained(folder)
    spec = write_spec(
        base_model={"path": str(folder)},
        grader={"type": "regex", "name": "any", "pattern": r"\w"},
        grpo={"max_steps": 1},
        evaluation={"every": 0, "samples_per_row": 1},
        chat={"grade": grade},
    )
    run_engine("run", spec, "--out", tmp_path / "out")
    events = events_of(tmp_path / "out")
    rollouts = [rollout for event in of_type(events, "rollouts") for rollout in event.rollouts]
    assert rollouts
    written = [rollout for rollout in rollouts if rollout.length > 1]
    if grade == "final":
        assert all((rollout.completion, rollout.reward) == ("", 0.0) for rollout in rollouts)
        assert all(rollout.reasoning for rollout in written)
    else:
        assert all(rollout.completion and rollout.reward == 1.0 for rollout in written)
        assert not any(rollout.reasoning for rollout in rollouts)
    assert any("think" in event.message for event in of_type(events, "log"))


def test_arguments_of_the_job_stand_over_those_of_the_base_model(tmp_path: Path) -> None:
    import torch

    from workers.engine.base_model.models import load

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    tiny_model().save_pretrained(tmp_path)
    ref = BaseModelRef(
        id="x", path=str(tmp_path), chat_template=OPENS, template_arguments={"enable_thinking": True}
    )
    chat = ChatSettings(template_arguments={"enable_thinking": False})
    base = load(ref, tmp_path, torch.device("cpu"), chat)
    assert base.renderer.render(QUESTION).endswith("assistant <think> </think> ")
    base.tokenizer.save_pretrained(tmp_path / "package")
    assert (tmp_path / "package" / "chat_template.jinja").read_text() == OPENS
