"""The expected answer next to the completion: rollout, comparison and bench."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.web import comparison
from tests.web.stored import rows_of
from webapp.graders.definitions.references import reference_reader
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import create_grader
from webapp.jobs.models import Job, Rollout
from webapp.teams.models import User
from workers.contract.events import EvaluationRow
from workers.grading import KINDS

SignIn = Callable[[User], Client]
PROMPT = "<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\n"
ERROR = "python_grader_runtime_error"
CHECK = {"type": "string_check", "name": "c", "operation": "eq", "input": "{{sample.output_text}}"}


def first_row(job: Job) -> dict[str, Any]:
    return rows_of(job.dataset_version.files["train"]["key"])[0]


def words(page: str) -> str:
    return " ".join(html.unescape(page).split())


@pytest.mark.parametrize(
    ("reads", "grader", "item", "expected", "others"),
    [
        ("{{item.answer}}", Grader(), {"answer": "4", "label": "x"}, ("item.answer", "4"), []),
        ("{{item.a}} {{item.b}}", Grader(reference_field="b"), {"a": "1", "b": 2}, ("item.b", "2"), ["a"]),
        (
            "{{item.a}}",
            Grader(full_answer="So: {{item.b}}"),
            {"a": "1", "b": 2},
            ("So: {{item.b}}", "So: 2"),
            ["a"],
        ),
        (
            "{{item.a}}, {{item.b}}",
            None,
            {"a": "1", "b": "2"},
            ("{{item.a}}, {{item.b}}", "1, 2"),
            ["a", "b"],
        ),
        ("{{item.a}}", Grader(), {"a": {"x": 1}}, ("item.a", '{"x": 1}'), []),
        ("none", Grader(), {"solution": "s"}, ("item.solution", "s"), []),
        ("none", Grader(), {"topic": "s"}, None, []),
    ],
)
def test_expected_answer_is_what_the_grader_compares_with(
    reads: str,
    grader: Grader | None,
    item: dict[str, Any],
    expected: tuple[str, str] | None,
    others: list[str],
) -> None:
    found = reference_reader(CHECK | {"reference": reads}, grader)(item)
    assert (found.expected and (found.expected.source, found.expected.text)) == expected
    assert [name for name, _ in found.fields] == others


def test_a_diff_is_offered_only_for_texts_of_similar_length() -> None:
    read = reference_reader(CHECK | {"reference": "{{item.answer}}"})
    assert read({"answer": "12 apples"}).is_comparable("13 apples")
    assert not read({"answer": "12"}).is_comparable("We count and count again, so the answer is 12.")
    assert not read({"answer": "12"}).is_comparable("12")


def test_rollout_shows_its_expected_answer_its_conversation_and_its_grading(
    job: Job, alice: User, as_user: SignIn
) -> None:
    row = first_row(job)
    Rollout.objects.create(
        job=job, step=1, index=0, group=0, row_id=row["row_id"], prompt=PROMPT, completion='{"amount": "1"}',
        reward=None, sub_rewards={"format": 1.0, "value": 0.25}, error_class=ERROR,
        error_detail="KeyError: 'x'",
        length=9, truncated=False, adapter_step=0,
    )  # fmt: skip
    page = words(as_user(alice).get(f"{job.get_absolute_url()}rollouts/1/0/").text)
    expected = json.dumps(row["item"]["reference"], ensure_ascii=False)
    assert "Expected answer" in page
    assert expected in page
    assert "item.reference" in page
    assert 'data-differs-from="expected-row"' in page
    assert " ".join(row["messages"][-1]["content"].split()) in page, "the prompt comes from the dataset's row"
    for part in ("value 0.250", "KeyError: 'x'", "Raw prompt"):
        assert part in page, part
    listed = words(as_user(alice).get(f"{job.get_absolute_url()}rollouts/").text)
    assert "<|im_start|>" not in listed
    assert row["messages"][-1]["content"].split()[0] in listed


def test_the_prompt_of_a_deleted_row_is_shown_by_role(job: Job, alice: User, as_user: SignIn) -> None:
    Rollout.objects.create(
        job=job, step=1, index=0, group=0, row_id="gone", prompt=PROMPT, completion="1", reward=1.0, length=9,
        truncated=False, adapter_step=0,
    )  # fmt: skip
    page = words(as_user(alice).get(f"{job.get_absolute_url()}rollouts/1/0/").text)
    assert "User" in page
    assert "How much?" in page
    assert "Expected answer</" not in page


def test_comparison_shows_the_expected_answer_of_rows_that_are_sealed(
    job: Job, alice: User, as_user: SignIn
) -> None:
    sample = comparison.sample(0.5, "12 pears")
    answered = comparison.row("r1", [sample], [sample]).model_dump()
    kept = {
        "messages": [{"role": "user", "content": "How many?"}],
        "item": {"reference": "13 pears"},
        "prompt": PROMPT,
    }
    comparison.compare(job, [EvaluationRow(**answered | kept)])
    page = as_user(alice).get(f"{job.get_absolute_url()}compare/").text
    assert "13 pears" in page
    assert 'data-differs-from="expected-0"' in page
    assert "How many?" in page
    assert page.index("im_start") > page.index("Raw prompt")
    assert "data-marks" in as_user(alice).get(f"{job.get_absolute_url()}compare/?marks=models").text
    assert "data-differs-from" not in as_user(alice).get(f"{job.get_absolute_url()}compare/?marks=off").text
    table = as_user(alice).get(f"{job.get_absolute_url()}compare/?view=table").text
    assert "13 pears" in table
    assert "im_start" not in table


def test_bench_shows_the_expected_answer_for_each_completion(job: Job, alice: User, as_user: SignIn) -> None:
    row = first_row(job)
    result = {
        "row": 0, "source": "typed", "number": 0, "answer": '{"amount": "1"}', "reward": 0.1, "seconds": 0.1,
        "sub_rewards": {"format": 1.0, "value": 0.1}, "error_class": None, "error_detail": None, "usage": {},
    }  # fmt: skip
    trial = GraderTrial.objects.create(
        team=job.team, grader=job.grader_version.grader, definition=job.grader_version.definition,
        rows=[row], results=[result], summary={"answers": 1, "mean": 0.1, "errors": 0}, state="finished",
    )  # fmt: skip
    page = words(as_user(alice).get(f"{job.grader_version.grader.get_absolute_url()}?trial={trial.uid}").text)
    assert json.dumps(row["item"]["reference"], ensure_ascii=False) in page
    assert f'data-differs-from="expected-{row["row_id"]}"' in page
    assert "value 0.100" in page


@pytest.mark.parametrize(
    ("kind", "heading"), [("python", "The grader's explanation"), ("score_model", "The judge's reasons")]
)
def test_an_explanation_is_headed_by_the_kind_of_its_grader(
    job: Job, alice: User, as_user: SignIn, kind: str, heading: str
) -> None:
    grader = create_grader(job.team, alice, "Explains", KINDS[kind].example)
    job.grader_version = grader.versions.get()
    job.save()
    Rollout.objects.create(
        job=job, step=1, index=0, group=0, row_id="gone", prompt=PROMPT, completion="1", reward=1.0, length=9,
        truncated=False, adapter_step=0, explanation="Because.",
    )  # fmt: skip
    sample = comparison.sample(0.5, "1").model_copy(update={"explanation": "Because."})
    comparison.compare(job, [comparison.row("r1", [sample], [sample])])
    result = {
        "row": 0, "source": "typed", "number": 0, "answer": "1", "reward": 0.5, "seconds": 0.1,
        "sub_rewards": {}, "error_class": None, "error_detail": None, "usage": {}, "explanation": "Because.",
    }  # fmt: skip
    trial = GraderTrial.objects.create(
        team=job.team, grader=grader, definition=KINDS[kind].example, rows=[first_row(job)], results=[result],
        summary={"answers": 1, "mean": 0.5, "errors": 0}, state="finished",
    )  # fmt: skip
    client = as_user(alice)
    for url in (
        f"{job.get_absolute_url()}rollouts/1/0/",
        f"{job.get_absolute_url()}compare/",
        f"{grader.get_absolute_url()}?trial={trial.uid}",
    ):
        page = client.get(url).text
        assert page.count("Because.") == page.count(heading) > 0, url
