"""The lineage of a model: a drawing with links, a list, and deleted objects without links."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import finished_job, tuned_model
from webapp.catalog import lineage
from webapp.catalog.lineage import Node, draw
from webapp.endpoints.models import Endpoint
from webapp.graders.models import GraderVersion
from webapp.jobs.models import Job, JobTask
from webapp.registry.models import TunedModel
from webapp.teams.models import User

SignIn = Callable[[User], Client]
JUDGED = {
    "type": "score_model", "name": "judged", "model": "gpt-judge", "range": [0, 1],
    "input": [{"role": "user", "content": "Grade {{ sample.output_text }} from 0 to 1."}],
}  # fmt: skip


def drawn(page: str) -> str:
    """The drawing alone."""
    found = re.search(r'<section[^>]*aria-labelledby="graph-title".*?</section>', page, re.DOTALL)
    assert found
    return found.group()


def words(page: str) -> str:
    found = re.search(r'<section[^>]*id="made-of".*?</section>', page, re.DOTALL)
    assert found
    return found.group()


def test_causes_stand_left_of_effects_and_nothing_overlaps() -> None:
    judge, grader, data, job, end = (
        Node("K", name, "/x") for name in ("judge", "grader", "data", "job", "end")
    )
    drawing = draw([judge, grader, data, job, end], [(judge, grader), (grader, job), (data, job), (job, end)])
    at = {placed.node.label: placed for placed in drawing.placed}
    assert at["judge"].x < at["grader"].x == at["data"].x < at["job"].x < at["end"].x
    assert at["data"].y >= at["grader"].y + lineage.HEIGHT
    assert at["job"].y == at["end"].y == (at["grader"].y + at["data"].y) // 2
    assert all(0 < placed.x <= drawing.width - lineage.WIDTH for placed in drawing.placed)
    assert all(0 < placed.y <= drawing.height - lineage.HEIGHT for placed in drawing.placed)
    start = f"M{at['judge'].x + lineage.WIDTH} {at['judge'].y + lineage.HEIGHT // 2}"
    assert drawing.curves[0].startswith(start)


def test_a_lone_node_is_drawn() -> None:
    drawing = draw([Node("Model", "alone", here=True)], [])
    assert drawing.curves == []
    assert drawing.width == lineage.WIDTH + 2 * lineage.MARGIN


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("Invoices v1", ["Invoices v1"]),
        ("ft:groove/starter:acme:invoices:Ab3dE6gh", ["ft:groove/starter:acme:", "invoices:Ab3dE6gh"]),
        ("x" * 80, ["x" * 23, "x" * 10 + "…" + "x" * 12]),
    ],
)
def test_a_long_name_takes_two_lines_and_keeps_its_end(label: str, lines: list[str]) -> None:
    assert Node("Model", label).lines == lines


def test_the_drawing_links_all_that_made_the_model_and_came_from_it(
    model: TunedModel, alice: User, bob: User, as_user: SignIn
) -> None:
    job, team = model.job, model.team
    parent = tuned_model(finished_job(team, alice, "First"), "ft:parent")
    child = tuned_model(finished_job(team, alice, "Goes on"), "ft:child")
    still = finished_job(team, alice, "Still going")
    Job.objects.filter(pk__in=[child.job.pk, still.pk]).update(initial_adapter=model)
    Job.objects.filter(pk=job.pk).update(initial_adapter=parent)
    job.checkpoints.create(step=40, attempt=1, key="k", bytes=1, sha256="0")
    GraderVersion.objects.filter(pk=job.grader_version_id).update(definition=JUDGED)
    Endpoint.objects.create(team=team, name="gpt-judge", base_url="https://judge.example/v1")

    page = as_user(bob).get(model.get_absolute_url()).text
    for place in (
        *(job.dataset_version.get_absolute_url(), job.grader_version.get_absolute_url()),
        *(reverse("judges:list", args=[team.slug]), parent.get_absolute_url(), child.get_absolute_url()),
        *(f"{job.get_absolute_url()}#checkpoints-title", job.get_absolute_url(), still.get_absolute_url()),
        f"{reverse('registry:bases', args=[team.slug])}#{model.base_model.uid}",
    ):
        assert f'href="{place}"' in drawn(page), place
        assert f'href="{place}"' in words(page), place
    assert "step 40 of 60" in drawn(page)


def test_deleted_things_stand_there_without_a_link(model: TunedModel, alice: User, as_user: SignIn) -> None:
    job, team = model.job, model.team
    parent = tuned_model(finished_job(team, alice, "First"), "ft:parent")
    Job.objects.filter(pk=job.pk).update(initial_adapter=parent)
    now = timezone.now()
    gone = [job.dataset_version.dataset, job.grader_version.grader, parent]
    for each in gone:
        type(each).objects.filter(pk=each.pk).update(deleted_at=now)
    page = as_user(alice).get(model.get_absolute_url()).text
    for version in (job.dataset_version, job.grader_version):
        assert version.get_absolute_url() not in drawn(page) + words(page)
        assert f": {version}, deleted</title>" in drawn(page)
    assert parent.get_absolute_url() not in drawn(page) + words(page)
    assert "Parent model: ft:parent, deleted</title>" in drawn(page)
    assert words(page).count("(deleted)") == 3


def test_many_children_are_folded_in_the_drawing_and_listed_in_words(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    children = [finished_job(model.team, alice, f"Goes on {number}") for number in range(7)]
    Job.objects.filter(pk__in=[child.pk for child in children]).update(initial_adapter=model)
    page = as_user(alice).get(model.get_absolute_url()).text
    assert sum(child.get_absolute_url() in drawn(page) for child in children) == lineage.MOST_DRAWN - 1
    assert all(child.get_absolute_url() in words(page) for child in children)
    assert 'href="#made-of"' in drawn(page)


def test_every_task_has_its_dataset_and_grader(model: TunedModel, alice: User, as_user: SignIn) -> None:
    job = model.job
    second = GraderVersion.objects.create(
        grader=job.grader_version.grader, number=2, definition=job.grader_version.definition, sha256="2"
    )
    for place, version in enumerate((job.grader_version, second)):
        JobTask.objects.create(
            job=job, position=place, name=f"t{place}", dataset_version=job.dataset_version,
            grader_version=version,
        )  # fmt: skip
    page = as_user(alice).get(model.get_absolute_url()).text
    assert second.get_absolute_url() in drawn(page)
    assert drawn(page).count(f'href="{job.dataset_version.get_absolute_url()}"') == 1
