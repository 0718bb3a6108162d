"""Judges: teams connect them and compare them with people's labels; keys never leave the server."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test import Client
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.judge_server import KEY, Answer, JudgeServer
from webapp.calibration import services as calibration
from webapp.calibration import statistics
from webapp.calibration.models import HumanLabel, JudgeCard
from webapp.calibration.statistics import JudgedAnswer
from webapp.core.statistics import cohen_kappa
from webapp.endpoints import services as endpoints
from webapp.endpoints.models import Endpoint, EndpointCheck
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import add_version, create_grader
from webapp.judges import presenters
from webapp.teams.models import AuditEvent, Team, User
from workers import grading
from workers.bridge import judge_checks

AsUser = Callable[[User], Client]
DEFINITION = {
    "type": "score_model",
    "name": "tone",
    "model": "gpt-judge",
    "input": [{"role": "user", "content": "Score {{sample.output_text}}"}],
}


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


@pytest.fixture
def endpoint(team: Team, alice: User, judge: JudgeServer) -> Endpoint:
    return endpoints.connect_endpoint(
        team, alice, name="gpt-judge", base_url=judge.url, api_key=KEY, input_price=1.0, timeout_seconds=5.0
    )


@pytest.fixture
def grader(team: Team, alice: User) -> Grader:
    return create_grader(team, alice, "Tone", DEFINITION)


@pytest.fixture
def trial(team: Team, grader: Grader) -> GraderTrial:
    """40 answers to 40 rows: the longer, the better."""
    rows = [
        {"row_id": f"r{n}", "messages": [{"role": "user", "content": f"prompt {n}"}], "item": {}}
        for n in range(40)
    ]
    results = [{"row": n, "answer": "good " * (n % 5 + 1) + str(n), "reward": 0.77777} for n in range(40)]
    return GraderTrial.objects.create(
        team=team,
        grader=grader,
        definition=DEFINITION,
        rows=rows,
        results=results,
        summary={"answers": 40},
        state=GraderTrial.State.FINISHED,
    )


FORM = {
    "name": "mine",
    "base_url": "http://judge.example/v1/",
    "api_key": KEY,
    "concurrency": 4,
    "timeout_seconds": 30,
    "input_price": 0,
    "output_price": 0,
}


# --- endpoints -------------------------------------------------------------------------------------


def test_an_owner_connects_a_judge_and_the_key_is_stored_encrypted(
    as_user: AsUser, alice: User, team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM, follow=True)
    assert "Connected “mine”" in page.content.decode()
    stored = Endpoint.objects.get()
    assert (stored.api_key, stored.base_url, stored.key_hint) == (KEY, "http://judge.example/v1", KEY[-4:])
    with connection.cursor() as cursor:
        cursor.execute("select api_key from endpoints_endpoint")
        assert KEY not in cursor.fetchone()[0]
    assert KEY not in page.content.decode() + caplog.text
    assert not AuditEvent.objects.filter(target__contains=KEY).exists()


def test_the_key_is_on_no_page_and_an_empty_field_keeps_it(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    client = as_user(alice)
    for place in ("", f"{endpoint.uid}/", "new/"):
        assert KEY not in client.get(f"/t/{team.slug}/judges/{place}").content.decode()
    changed = FORM | {"name": "gpt-judge", "base_url": endpoint.base_url, "api_key": "", "budget": 5}
    client.post(f"/t/{team.slug}/judges/{endpoint.uid}/", changed)
    endpoint.refresh_from_db()
    assert (endpoint.api_key, endpoint.budget) == (KEY, 5)
    refused = client.post(f"/t/{team.slug}/judges/new/", FORM | {"name": "gpt-judge"})
    assert refused.status_code == 422
    assert "has this name" in refused.content.decode()
    assert KEY not in refused.content.decode()


def test_a_key_does_not_follow_to_another_address(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    moved = FORM | {"name": "gpt-judge", "base_url": "http://elsewhere.example/v1", "api_key": ""}
    as_user(alice).post(f"/t/{team.slug}/judges/{endpoint.uid}/", moved)
    endpoint.refresh_from_db()
    assert (endpoint.base_url, endpoint.api_key or "") == ("http://elsewhere.example/v1", "")


def test_the_form_refuses_an_internal_address_and_says_who_can_allow_it(
    team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    for url in (
        "http://10.0.0.1/v1",
        "http://[::1]/v1",
        "http://2130706434/v1",
        "http://u:p@judge.example/v1",
    ):
        answer = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | {"base_url": url})
        assert (answer.status_code, Endpoint.objects.exists()) == (422, False)
    answer = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | {"base_url": "http://10.0.0.1/v1"})
    assert "GROOVE_OUTBOUND_ALLOW" in answer.content.decode()


def test_disconnecting_forgets_the_key_and_frees_the_name(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    as_user(alice).post(f"/t/{team.slug}/judges/{endpoint.uid}/delete/")
    endpoint.refresh_from_db()
    assert endpoint.api_key is None
    endpoints.connect_endpoint(team, alice, name="gpt-judge", base_url="http://new.example/v1")


def test_only_owners_connect_judges_and_strangers_see_none(
    as_user: AsUser,
    bob: User,
    charlie: User,
    team: Team,
    endpoint: Endpoint,
    grader: Grader,
    trial: GraderTrial,
) -> None:
    version, task = grader.versions.get(), calibration.create_label_task(grader, bob, trial)
    pages = ["", "new/", f"{endpoint.uid}/", f"cards/{version.uid}/", f"labels/{task.uid}/"]
    viewer = [as_user(bob).get(f"/t/{team.slug}/judges/{page}").status_code for page in pages]
    assert viewer == [200, 403, 403, 200, 403]
    stranger = [as_user(charlie).get(f"/t/{team.slug}/judges/{page}").status_code for page in pages]
    assert stranger == [404] * 5
    theirs = Team.objects.get(memberships__user=charlie)
    across = [as_user(charlie).get(f"/t/{theirs.slug}/judges/{page}").status_code for page in pages[2:]]
    assert across == [404] * 3
    posts = [
        f"{endpoint.uid}/check/",
        f"{endpoint.uid}/delete/",
        f"cards/{version.uid}/make/",
        f"labels/start/{grader.uid}/",
    ]
    assert [as_user(charlie).post(f"/t/{theirs.slug}/judges/{page}").status_code for page in posts] == [
        404
    ] * 4
    assert [as_user(bob).post(f"/t/{team.slug}/judges/{page}").status_code for page in posts] == [403] * 4


@pytest.mark.parametrize("place", ["new/", "{uid}/"])
def test_no_error_report_holds_the_key(
    alice: User, team: Team, endpoint: Endpoint, settings: Any, place: str, client: Client
) -> None:
    client.raise_request_exception = False
    client.force_login(alice)
    reports: list[str] = []

    class Reporter(ExceptionReporter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            reports.append(self.get_traceback_html() + self.get_traceback_text())

    settings.DEFAULT_EXCEPTION_REPORTER = f"{__name__}.Reporter"
    globals()["Reporter"] = Reporter
    settings.ADMINS = [("admin", "admin@example.com")]
    settings.DEBUG = False
    logger = logging.getLogger("django.request")
    handler = AdminEmailHandler(reporter_class=f"{__name__}.Reporter")
    logger.addHandler(handler)
    try:
        with (
            patch("django.db.models.query.QuerySet._insert", side_effect=RuntimeError("no database")),
            patch("django.db.models.Model.save", side_effect=RuntimeError("no database")),
        ):
            where = f"/t/{team.slug}/judges/{place.format(uid=endpoint.uid)}"
            answered = client.post(where, FORM | {"name": "another", "api_key": "sk-another-secret-12345678"})
    finally:
        logger.removeHandler(handler)
    assert answered.status_code == 500
    assert reports
    assert "no database" in reports[0]
    assert "sk-another-secret-12345678" not in "".join(reports)


def check(endpoint: Endpoint) -> None:
    """A worker runs the check of the endpoint."""
    judge_checks.check_endpoint(EndpointCheck.objects.get(endpoint=endpoint).pk)


def test_a_worker_tells_whether_a_judge_answers(endpoint: Endpoint, judge: JudgeServer) -> None:
    judge.behave = lambda body, number: Answer('{"reason": "it is", "label": "yes"}')
    endpoints.request_check(endpoint)
    check(endpoint)
    endpoint.last_check.refresh_from_db()
    assert (endpoint.last_check.error, endpoint.last_check.seconds > 0) == (None, True)
    assert list(judge.authorizations) == [f"Bearer {KEY}"]
    check(endpoint)
    assert len(judge.requests) == 1, "a second message asks nothing"
    judge.behave = lambda body, number: Answer(status=401)
    endpoints.request_check(endpoint)
    check(endpoint)
    endpoint.last_check.refresh_from_db()
    assert "Check the key" in endpoint.last_check.error.message
    assert KEY not in endpoint.last_check.error.model_dump_json()


def test_a_worker_with_another_secret_says_so_and_sends_nothing(
    endpoint: Endpoint, judge: JudgeServer
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "update endpoints_endpoint set api_key = %s",
            [Fernet(Fernet.generate_key()).encrypt(b"x").decode()],
        )
    endpoint = Endpoint.objects.get()
    endpoints.update_endpoint(endpoint, endpoint.created_by, budget=7.0)
    endpoints.request_check(Endpoint.objects.get())
    check(endpoint)
    assert "its GROOVE_SECRET_KEY differs from the one" in EndpointCheck.objects.get().error.message
    assert judge.requests == []


def test_a_grader_is_told_which_of_its_judges_nobody_has_connected(team: Team, endpoint: Endpoint) -> None:
    known, unknown = (grading.validate(DEFINITION | {"model": model}) for model in ("gpt-judge", "other"))
    assert endpoints.list_missing_judges(team, known) == []
    assert endpoints.list_missing_judges(team, unknown) == ["other"]


# --- labels and cards ------------------------------------------------------------------------------


def test_labelling_is_blind_quick_and_can_be_taken_back(
    as_user: AsUser, alice: User, team: Team, grader: Grader, trial: GraderTrial
) -> None:
    client = as_user(alice)
    start = client.post(
        f"/t/{team.slug}/judges/labels/start/{grader.uid}/", {"trial": trial.uid}, follow=True
    )
    page = start.content.decode()
    assert "Answer 1 of 40" in page
    assert "0.77" not in page
    place = start.redirect_chain[-1][0]
    second = client.post(place, {"answer": 0, "value": 4}, follow=True).content.decode()
    assert "Answer 2 of 40" in second
    client.post(place, {"answer": 0, "value": 2})
    assert [label.value for label in HumanLabel.objects.all()] == [2]
    assert client.post(place, {"answer": 0, "value": 6}).status_code == 422
    assert client.post(place, {"answer": 40, "value": 1}).status_code == 422
    assert client.post(place, {"answer": "²", "value": "9" * 5000}).status_code == 422
    assert (
        client.get(f"{place}?at=²").status_code == client.get(f"{place}?at={'9' * 5000}").status_code == 200
    )
    assert "Answer 2 of 40" in client.get(place).content.decode()


def test_labels_see_what_the_judge_sees_and_replace_nobodys_word_unseen(
    as_user: AsUser, alice: User, erin: User, grader: Grader, trial: GraderTrial
) -> None:
    definition = DEFINITION | {"input": [{"role": "user", "content": "{{item.tone}} {{sample.output_text}}"}]}
    add_version(grader, alice, definition)
    for row in trial.rows:
        row["item"] |= {"tone": "a polite tone", "secret": "not for the judge"}
    task = calibration.create_label_task(grader, alice, trial)
    page = as_user(alice).get(task.get_absolute_url()).content.decode()
    assert "a polite tone" in page
    assert "not for the judge" not in page
    calibration.label_answer(task, erin, 0, 5)
    as_user(alice).post(task.get_absolute_url(), {"answer": 0, "value": 1})
    assert task.labels.get().value == 5
    again = as_user(alice).get(f"{task.get_absolute_url()}?at=0").content.decode()
    assert "erin@example.com" in again
    as_user(alice).post(task.get_absolute_url(), {"answer": 0, "value": 1, "seen": 5})
    assert (task.labels.get().value, task.labels.get().labelled_by) == (1, alice)


def labelled(grader: Grader, trial: GraderTrial, user: User, number: int) -> None:
    """Labels as the answers deserve: by length."""
    task = calibration.create_label_task(grader, user, trial)
    for place, answer in enumerate(task.answers[:number]):
        calibration.label_answer(task, user, place, answer["text"].count("good"))


def by_length(body: Any, number: int) -> Answer:
    return Answer(
        json.dumps({"steps": [], "result": (body["messages"][-1]["content"].count("good") - 1) / 4})
    )


def test_a_card_needs_thirty_labels(alice: User, grader: Grader, trial: GraderTrial) -> None:
    labelled(grader, trial, alice, 29)
    with pytest.raises(calibration.TooFewLabels, match="needs 30 labels; there are 29"):
        calibration.create_card(grader.versions.get(), alice)


def test_a_card_shows_how_far_the_judge_agrees_and_takes_the_mark_away(
    as_user: AsUser,
    alice: User,
    team: Team,
    grader: Grader,
    trial: GraderTrial,
    endpoint: Endpoint,
    judge: JudgeServer,
) -> None:
    version, client = grader.versions.get(), as_user(alice)
    labelled(grader, trial, alice, 35)
    assert calibration.is_uncalibrated(version)
    judge.behave = by_length
    card = calibration.create_card(version, alice)
    judge_checks.make_card(card.pk)
    card.refresh_from_db()
    results = card.results
    assert (card.state, results["labels"], results["failures"]) == ("finished", 35, 0)
    assert (results["kappa"]["value"], results["kappa"]["low"], results["levels"]["value"]) == (1, 1, 1)
    assert results["consistency"] == {"kind": "repeat", "value": 1.0}
    assert results["slope"]["value"] == pytest.approx(0)
    assert results["cost"] == pytest.approx(0.0001)
    assert not calibration.is_uncalibrated(version)
    page = client.get(f"/t/{team.slug}/judges/cards/{version.uid}/").content.decode()
    assert "on 35 labels" in page
    assert page.count("<title>label ") == 35
    assert re.search(r"Uncalibrated", page) is None
    judges = client.get(f"/t/{team.slug}/judges/").content.decode()
    assert "κ 1.000" in judges
    assert "[1.000, 1.000]" in judges


def test_a_card_does_not_count_for_another_model_behind_the_same_name(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 30)
    judge.behave = by_length
    judge_checks.make_card(calibration.create_card(grader.versions.get(), alice).pk)
    assert not calibration.is_uncalibrated(grader.versions.get())
    endpoints.update_endpoint(endpoint, alice, model="another")
    [(_, [use])] = presenters.list_uses(grader.team, [endpoint])
    assert (use.grader, use.kappa) == (grader, None)
    assert calibration.is_uncalibrated(grader.versions.get())
    assert calibration.find_uncalibrated(grader.team, grader.versions.all()) == {grader.versions.get().pk}


@pytest.mark.parametrize("wrong", [{"concurrency": 257}, {"timeout_seconds": 601}, {"budget": 0}])
def test_limits_that_no_job_could_run_with_are_refused_in_the_form(
    as_user: AsUser, alice: User, team: Team, wrong: dict[str, Any]
) -> None:
    refused = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | wrong)
    assert (refused.status_code, Endpoint.objects.count()) == (422, 0)


def test_a_judge_that_pays_for_length_is_found_out() -> None:
    judged = [JudgedAnswer(1 + n % 5, min(1.0, n / 40), 10 * n) for n in range(40)]
    found = statistics.bootstrap_interval(judged, statistics.measure_length_slope)
    assert found.low is not None
    assert found.value is not None
    assert 0 < found.low <= found.value
    agreement = statistics.bootstrap_interval(
        judged, lambda some: statistics.measure_passing_kappa(some, 0.5)
    )
    assert agreement.low is not None
    assert agreement.low < 0.3


def test_a_card_needs_thirty_verdicts_too(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 31)
    judge.behave = lambda body, number: by_length(body, number) if number else Answer(status=403)
    enough = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(enough.pk)
    judge.behave = lambda body, number: by_length(body, number) if number % 2 else Answer(status=403)
    too_few = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(too_few.pk)
    assert [JudgeCard.objects.get(pk=card.pk).state for card in (enough, too_few)] == ["finished", "failed"]
    assert "of 31 answers" in JudgeCard.objects.get(pk=too_few.pk).error.message


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("swap", {"type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]}),
        ("order", {"type": "ranking", "rubric": "Longer is better."}),
    ],
)
def test_the_options_and_their_order_are_changed_to_see_whether_the_verdict_holds(
    kind: str,
    definition: Any,
    team: Team,
    alice: User,
    trial: GraderTrial,
    endpoint: Endpoint,
    judge: JudgeServer,
) -> None:
    shown = {"input": DEFINITION["input"]} if kind == "swap" else {}
    grader = create_grader(team, alice, kind, {"name": "k", "model": "gpt-judge", **shown, **definition})
    trial.grader = grader
    trial.results = [each | {"row": each["row"] % 8} for each in trial.results]
    trial.save()
    labelled(grader, trial, alice, 40)

    def behave(body: Any, number: int) -> Answer:
        """Always the first: the first label, or the first answer best."""
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        if kind == "swap":
            return Answer(json.dumps({"reason": "", "label": schema["label"]["enum"][0]}))
        ids = list(schema["answers"]["properties"])
        scores = {i: {"reason": "", "score": float(i == ids[0])} for i in ids}
        return Answer(json.dumps({"answers": scores}))

    judge.behave = behave
    card = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(card.pk)
    card.refresh_from_db()
    assert card.error is None
    assert card.results["consistency"]["kind"] == kind
    assert card.results["consistency"]["value"] < 0.9


def test_a_card_of_a_judge_that_never_answers_says_why(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 30)
    judge.behave = lambda body, number: Answer(status=404)
    card = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(card.pk)
    card = JudgeCard.objects.get()
    assert (card.state, "status 404" in card.error.message) == ("failed", True)


# --- formulas --------------------------------------------------------------------------------------


def test_kappa_is_that_of_the_textbook() -> None:
    """Cohen (1960): 20 yes-yes, 15 no-no, 5 yes-no, 10 no-yes give 0.4."""
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


VERDICTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50)


@given(VERDICTS)
def test_kappa_is_symmetric_at_most_1_and_1_only_in_full_agreement(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(first, second)
    assert found == pytest.approx(cohen_kappa(second, first))
    assert found is None or found <= 1
    if found is not None:
        assert (found == pytest.approx(1)) == (first == second)


LEVELS = st.integers(1, 5)


@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=30))
def test_weighted_kappa_is_symmetric_and_1_in_full_agreement(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = statistics.weighted_kappa(first, second)
    assert found is None or found <= 1
    assert found == (None if found is None else pytest.approx(statistics.weighted_kappa(second, first)))
    if len(set(first)) > 1:
        assert statistics.weighted_kappa(first, first) == 1


@given(st.integers(1, 5))
def test_a_label_and_its_share_are_the_same_level(label: int) -> None:
    assert statistics.to_label(statistics.to_reward(label)) == label
