"""Tags of jobs as they are typed: any text is read or refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import finished_job
from webapp.jobs.errors import ActionRefused
from webapp.jobs.listing import tags
from webapp.jobs.listing.bulk_actions import apply_action, select_jobs
from webapp.jobs.models import Job
from webapp.teams.models import Team, User


@given(st.text(max_size=80))
def test_tags_are_distinct_short_and_read_alike_again(text: str) -> None:
    try:
        found = tags.read_tags(text)
    except ActionRefused:
        return
    assert len(found) == len(set(found)) <= tags.MAX_TAGS
    assert all(0 < len(tag) <= tags.TAG_LENGTH and "," not in tag and "\0" not in tag for tag in found)
    assert tags.read_tags(", ".join(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [("x" * 31, f"“{'x' * 30}…” has more than 30"), (",".join(map(str, range(13))), "these are 13")],
)
def test_tags_that_do_not_fit_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ActionRefused, match=message):
        tags.read_tags(text)


def test_tags_are_removed_before_others_are_added(job: Job, alice: User) -> None:
    twelve = [f"t{number}" for number in range(12)]
    tags.annotate(job, alice, ",".join(twelve), "")
    tags.change_tags(job, alice, ["new"], ["t0"])
    job.refresh_from_db()
    assert job.tags == [*twelve[1:], "new"]
    tags.change_tags(job, alice, ["t1"], ["not there"])
    with pytest.raises(ActionRefused, match="would have 13 tags"):
        tags.change_tags(job, alice, ["one more"], [])
    job.refresh_from_db()
    assert job.tags == [*twelve[1:], "new"]


def test_one_full_job_does_not_keep_the_others_from_their_tag(job: Job, team: Team, alice: User) -> None:
    other = finished_job(team, alice, "Other")
    tags.annotate(job, alice, ",".join(f"t{number}" for number in range(12)), "")
    done, refused = apply_action("tag", select_jobs(team, [job.uid, other.uid]), alice, add="new")
    assert done == [other]
    assert [text for text in refused if "Invoices" in text] == refused
    assert len(refused) == 1


def test_all_tags_of_a_team_are_listed_once_in_any_case(
    job: Job, team: Team, alice: User, charlie: User
) -> None:
    theirs = finished_job(Team.objects.get(memberships__user=charlie), charlie)
    tags.annotate(theirs, charlie, "secret", "")
    tags.annotate(job, alice, "beta, Alpha", "")
    tags.annotate(finished_job(team, alice, "Other"), alice, "beta, gamma", "")
    assert tags.list_tags(team) == ["Alpha", "beta", "gamma"]
