"""The bench: row selection, answers side by side, a histogram as filter, what training could learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.web.stored import rows_of
from tests.web.tab import part
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import add_version, create_grader
from webapp.graders.trials import row_selection
from webapp.graders.trials.error_groups import group_errors
from webapp.home.sample_project import create_sample_project
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from workers.bridge.graders.trials import run_trial
from workers.grading import KINDS

SignIn = Callable[[User], Client]
Json = dict[str, Any]


@pytest.fixture
def sample(team: Team, alice: User) -> tuple[DatasetVersion, Grader]:
    dataset, grader = create_sample_project(team, alice)
    return dataset.versions.get(), grader


def bench_form(version: DatasetVersion, grader: Grader, **more: Any) -> Json:
    definition = json.dumps(grader.versions.first().definition)  # type: ignore[union-attr]
    form = {"grader": grader.uid, "definition": definition, "version": version.pk, "count": 5}
    return form | {"answers": ["field"], "field": "reference"} | more


def tried(client: Client, team: Team, form: Json) -> GraderTrial:
    client.post(f"/t/{team.slug}/graders/try/", form)
    return GraderTrial.objects.latest("id")


# --- rows ------------------------------------------------------------------------------------------


def split_rows(version: DatasetVersion, split: str) -> list[Json]:
    return list(rows_of(version.files[split]["key"]))


@pytest.mark.parametrize("split", row_selection.SPLITS)
def test_rows_come_from_the_split_that_was_chosen(
    split: str, sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    trial = tried(as_user(alice), team, bench_form(*sample, split=split))
    assert [row["row_id"] for row in trial.rows] == [r["row_id"] for r in split_rows(sample[0], split)[:5]]


def test_the_sealed_test_split_cannot_be_chosen(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    answer = as_user(alice).post(f"/t/{team.slug}/graders/try/", bench_form(*sample, split="test"))
    assert answer.status_code == 422
    assert not GraderTrial.objects.exists()


def test_a_random_draw_is_the_same_for_the_same_seed(sample: tuple[DatasetVersion, Grader]) -> None:
    version, _ = sample
    train = [row["row_id"] for row in split_rows(version, "train")]
    draws = [row_selection.random_rows(version, "train", 200, seed) for seed in (1, 1, 2)]
    drawn = [[row["row_id"] for row in rows] for rows in draws]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 200
    assert drawn[0] == [row_id for row_id in train if row_id in set(drawn[0])]


def test_rows_are_found_by_text_and_by_the_beginning_of_their_id(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    version, client = sample[0], as_user(alice)
    trial = tried(client, team, bench_form(*sample, pick="search", text="MARLOW gmbh", count=200))
    holding = [r["row_id"] for r in split_rows(version, "train") if "Marlow GmbH" in json.dumps(r)]
    assert [row["row_id"] for row in trial.rows] == holding[:200]
    wanted = [split_rows(version, "train")[n]["row_id"] for n in (3, 700)]
    trial = tried(client, team, bench_form(*sample, pick="ids", ids=f"{wanted[0]},\n{wanted[1][:16]}"))
    assert [row["row_id"] for row in trial.rows] == wanted


def test_a_choice_that_leaves_no_row_says_so_and_keeps_the_text(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    form = bench_form(*sample, pick="search", text="no row says this") | {"answer": "typed!"}
    answer = as_user(alice).post(f"/t/{team.slug}/graders/try/", form)
    assert answer.status_code == 422
    assert "No row of this split matches." in answer.content.decode()
    assert "typed!" in answer.content.decode()


def test_a_refused_run_says_so_beside_the_button_and_leaves_the_results(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    client, htmx = as_user(alice), {"HX-Request": "true"}
    form = bench_form(*sample, pick="search", text="no row says this")
    refused = client.post(f"/t/{team.slug}/graders/try/", form, headers=htmx)
    assert (refused["HX-Retarget"], refused["HX-Reswap"]) == ("#refused", "outerHTML")
    assert 'id="refused"' in refused.content.decode()
    assert "No row of this split matches." in refused.content.decode()
    begun = client.post(f"/t/{team.slug}/graders/try/", bench_form(*sample), headers=htmx)
    assert "HX-Retarget" not in begun
    assert '<div id="trial"' in begun.content.decode()
    assert '<div id="refused" hx-swap-oob="true">' in begun.content.decode(), "clears the refusal"
    reloaded = client.get(begun["HX-Push-Url"])
    assert part(begun.text, "recent-trials") == part(reloaded.text, "recent-trials") != ""


def test_a_field_that_the_rows_lack_is_refused_with_those_that_they_have(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    answer = client.post(f"/t/{team.slug}/graders/try/", bench_form(*sample, field="refernce"))
    assert answer.status_code == 422
    assert "has no field “refernce”. It has" in answer.content.decode()
    offered = client.get(f"/t/{team.slug}/graders/fields/", {"version": sample[0].pk}).content.decode()
    assert '<option value="reference">' in offered


def test_newest_versions_are_offered_before_older_ones(
    sample: tuple[DatasetVersion, Grader], alice: User, as_user: SignIn
) -> None:
    _, grader = sample
    newer, _ = add_version(grader, alice, grader.versions.get().definition | {"name": "again"})
    form = as_user(alice).get(grader.get_absolute_url()).context["trial_form"]
    *first, (group, older) = form.fields["second"].choices
    assert newer.pk in [pk for pk, _ in first]
    assert (group, [name for _, name in older]) == ("Older versions", [f"{grader} v1"])


# --- results ---------------------------------------------------------------------------------------


def test_typed_and_true_answers_stand_side_by_side_and_a_bar_shows_its_rows(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    client, form = as_user(alice), bench_form(*sample, answers=["typed", "field"], answer="I do not know")
    trial = tried(client, team, form)
    run_trial(trial.pk)
    trial.refresh_from_db()
    assert trial.summary == {"answers": 10, "mean": 0.5, "errors": 0}
    assert [(r["row"], r["source"], r["reward"]) for r in trial.results[:2]] == [
        (0, "field", 1.0), (0, "typed", 0.0),
    ]  # fmt: skip
    bench = f"{sample[1].get_absolute_url()}?trial={trial.uid}"
    answer = client.get(f"{bench}&bin=9")
    shown = answer.context["shown"]
    assert [(bar.key, bar.count) for bar in shown.bars if bar.count] == [("0", 5), ("9", 5)]
    assert all([r["matches"] for r in row.results] == [True, False] for row in shown.page)
    assert f'href="{bench.replace("&", "&amp;")}&bin=0"' in answer.content.decode().replace(
        "&amp;bin", "&bin"
    )
    assert not list(client.get(f"{bench}&bin=4").context["shown"].page)


def test_samples_of_a_base_model_tell_what_training_could_learn(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    version, grader = sample
    hackable = Grader.objects.get(name__contains="hackable").versions.get()
    form = bench_form(
        version, grader, count=3, answers=["base_model"], samples=4, base_model=ensure_starter_model().pk,
        second=hackable.pk,
    )  # fmt: skip
    trial = tried(as_user(alice), team, form)
    run_trial(trial.pk)
    trial.refresh_from_db()
    assert trial.error is None
    assert [(r["row"], r["number"]) for r in trial.results] == [
        (n, k) for n in range(3) for k in (1, 2, 3, 4)
    ]
    shown = as_user(alice).get(f"{grader.get_absolute_url()}?trial={trial.uid}").context["shown"]
    assert (shown.samples.groups, shown.samples.answers, shown.samples.errors) == (3, 12, 0)
    assert shown.samples.mean == pytest.approx(trial.summary["mean"])
    second = [r["second"]["reward"] for r in trial.results]
    assert shown.agreement.difference == pytest.approx(sum(second) / 12 - trial.summary["mean"])


def test_an_error_shows_its_class_its_traceback_and_what_was_printed(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    source = "def grade(sample, item):\n    print('so far')\n    return 1 / 0\n"
    form = bench_form(*sample, answers=["typed"], answer="", count=1) | {"source": source, "definition": ""}
    trial = tried(as_user(alice), team, form)
    run_trial(trial.pk)
    page = as_user(alice).get(f"{sample[1].get_absolute_url()}?trial={trial.uid}").content.decode()
    assert "The grader&#x27;s code failed" in page
    assert "python_grader_runtime_error" in page
    assert "line 3" in page
    assert "so far" in page
    assert "1 could not be graded" in page


def test_equal_errors_are_told_once_with_their_rows(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    source = (
        "def grade(sample, item):\n    if sample['output_text'] == 'odd':\n        return object().nothing\n"
        "    raise ValueError('always the same')\n"
    )
    form = bench_form(*sample, answers=["typed", "field"], answer="odd", count=20)
    trial = tried(as_user(alice), team, form | {"source": source, "definition": ""})
    run_trial(trial.pk)
    first, second = group_errors(GraderTrial.objects.get(pk=trial.pk))
    assert {first.count, second.count} == {20}
    assert [len(first.rows), first.more_rows] == [12, 8]
    page = as_user(alice).get(f"{sample[1].get_absolute_url()}?trial={trial.uid}").content.decode()
    assert page.count("20 completions were not graded") == 2
    assert "and 8 more" in page
    assert '<details class="mt-1 text-sm" open>' not in page


def test_unsaved_text_that_was_tried_is_in_the_editor_again_until_something_is_saved(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    client, (version, grader) = as_user(alice), sample
    draft = "def grade(sample, item):\n    return 0.125\n"
    trial = tried(client, team, bench_form(version, grader) | {"source": draft, "definition": ""})
    bench = f"{grader.get_absolute_url()}?trial={trial.uid}"
    assert client.get(bench).context["form"]["source"].value() == draft
    answer = client.post(bench, {"source": draft.replace("0.125", "0.25")})
    assert answer["Location"] == bench
    assert "0.25" in client.get(bench).context["form"]["source"].value()
    assert "0.125" in client.get(bench).context["trial"].definition["source"]


def test_the_bench_offers_the_dataset_that_fits_and_its_right_answers(
    sample: tuple[DatasetVersion, Grader], alice: User, as_user: SignIn
) -> None:
    form = as_user(alice).get(sample[1].get_absolute_url()).context["trial_form"]
    assert form["version"].value() == sample[0].pk
    assert form["field"].value() == "reference"


def test_pages_of_results_are_short_and_ask_few_questions(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn,
    django_assert_max_num_queries: Any,
) -> None:  # fmt: skip
    client, form = as_user(alice), bench_form(*sample, count=200)
    trial = tried(client, team, form)
    run_trial(trial.pk)
    with django_assert_max_num_queries(25):
        answer = client.get(f"{sample[1].get_absolute_url()}?trial={trial.uid}&page=20")
    assert len(list(answer.context["shown"].page)) == 10
    assert answer.context["shown"].bars[-1].count == 200


def test_model_text_is_escaped_in_results(team: Team, alice: User, as_user: SignIn) -> None:
    attack = "<script>alert(1)</script>"
    grader = create_grader(team, alice, attack, KINDS["string_check"].example)
    result = {"row": 0, "source": "typed", "number": 1, "answer": attack, "reward": None,
              "sub_rewards": {attack: 1},
              "seconds": 0.1, "error_class": attack, "error_detail": attack, "stdout": attack,
              "explanation": attack, "usage": {}, "cached": False}  # fmt: skip
    trial = GraderTrial.objects.create(
        team=team, grader=grader, definition=KINDS["string_check"].example,
        rows=[{"row_id": attack, "messages": [{"role": "user", "content": attack}], "item": {}}],
        state=GraderTrial.State.FINISHED, results=[result],
        summary={"answers": 1, "mean": None, "errors": 1},
    )  # fmt: skip
    page = as_user(alice).get(f"{grader.get_absolute_url()}?trial={trial.uid}").content.decode()
    assert attack not in page
    assert page.count("&lt;script&gt;") > 8


def test_another_graders_trial_is_not_shown_on_this_bench(
    sample: tuple[DatasetVersion, Grader], team: Team, alice: User, as_user: SignIn
) -> None:
    trial = tried(as_user(alice), team, bench_form(*sample))
    other = create_grader(team, alice, "Other", KINDS["string_check"].example)
    assert as_user(alice).get(f"{other.get_absolute_url()}?trial={trial.uid}").status_code == 404
