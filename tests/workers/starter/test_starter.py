"""The starter model and its sample project keep what the documentation promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from workers.starter import measure, pretrain
from workers.starter.office_tasks import TASKS, draw_example, make_random
from workers.starter.sample import build, fields

SAMPLE = build.HERE
SEEDS = st.integers(0, 2**32)


def sample_rows() -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / "dataset.jsonl").read_text().splitlines()]


@given(SEEDS, st.sampled_from(sorted(TASKS)))
def test_a_seed_draws_the_same_example_and_its_right_answer_earns_full_marks(seed, task):
    example = draw_example(make_random(seed), task)
    assert example == draw_example(make_random(seed), task)
    assert fields.grade({"output_text": example.right_answer()}, {"reference": example.reference}) == 1.0


@given(SEEDS, st.sampled_from(sorted(TASKS)))
def test_every_habit_is_a_wrong_value(seed, task):
    example = draw_example(make_random(seed), task)
    wrong = {**example.reference, **example.habits}
    share_right = 1 - len(example.habits) / len(example.reference)
    reward = fields.grade({"output_text": json.dumps(wrong)}, {"reference": example.reference})
    assert reward == pytest.approx(0.1 + 0.9 * share_right)


def test_the_committed_grader_gives_every_reference_of_the_data_set_full_marks():
    namespace: dict = {}
    exec(json.loads((SAMPLE / "grader.json").read_text())["source"], namespace)
    rows = sample_rows()
    marks = [namespace["grade"]({"output_text": json.dumps(row["reference"])}, row) for row in rows]
    assert len(rows) == build.ROWS
    assert set(marks) == {1.0}


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_the_grader_gives_nothing_to_other_texts_and_never_raises(text):
    assert fields.grade({"output_text": text}, {"reference": {"queue": "access"}}) == 0.0


def test_the_grader_survives_deep_nesting():
    assert fields.grade({"output_text": "[" * 100_000}, {"reference": {"queue": "access"}}) == 0.0


def test_the_committed_sample_project_is_what_the_script_builds(tmp_path: Path):
    build.build(tmp_path)
    for name in ("dataset.jsonl", "grader.json"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_no_two_sample_rows_ask_the_same():
    prompts = [row["messages"][0]["content"] for row in sample_rows()]
    assert len(set(prompts)) == len(prompts)


def test_the_weights_fit_in_twelve_megabytes():
    assert sum(path.stat().st_size for path in measure.MODEL.iterdir()) <= 12e6


def test_the_committed_model_knows_the_format_and_is_right_only_sometimes():
    torch.manual_seed(0)
    tokenizer, model = measure.load()
    report = measure.measure(tokenizer, model, measure.draw_held_out(60), samples=8)["all"]
    assert 0.15 <= report["pass_at_1"] <= 0.45
    assert report["pass_at_8"] >= 0.8
    assert report["mean_reward"] <= 0.6


def test_pretraining_repeats_itself_and_writes_an_ordinary_model(tmp_path: Path):
    short = tuple(replace(phase, steps=2) for phase in pretrain.PHASES)
    for name in ("first", "second"):
        pretrain.pretrain(tmp_path / name, pretrain.load_pinned_tokenizer(), short, compiled=False)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    assert model.config.model_type == "qwen3"
    assert model.num_parameters() < 2_500_000


def test_a_new_tokenizer_writes_numbers_below_100_as_one_token_and_loses_no_text():
    tokenizer = pretrain.build_tokenizer()
    assert tokenizer.get_vocab() == pretrain.build_tokenizer().get_vocab()
    assert all(len(tokenizer(str(number))["input_ids"]) == 1 for number in range(100))
    text = "Zürich, 10 € für 7 Schrauben"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample():
    assert measure.pass_at(1, samples=8, right=2) == 0.25
    assert measure.pass_at(2, samples=4, right=1) == 0.5
    assert measure.pass_at(8, samples=16, right=9) == 1.0
