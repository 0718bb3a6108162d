"""Devices of nodes: what is free, what a job may have, and what pages show of their load."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import finished_job, tuned_model
from webapp.jobs.launch.placement import explain_waiting, find_placement
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry import exporting
from webapp.teams.models import Team, User
from webapp.work import nodes
from webapp.work.models import Node, WorkState
from webapp.work.placement import choose_devices, find_free_devices
from workers.contract.devices import GivenDevices, NodeDevices
from workers.contract.exports import CPU_CORES as EXPORT_CORES
from workers.contract.spec import Resources

GPUS = st.lists(st.floats(1, 200), max_size=6).map(
    lambda sizes: [{"index": n, "name": "gpu", "memory_gib": size} for n, size in enumerate(sizes)]
)
CPU_JOB = Resources(cpu_cores=2)


def devices(cores: int = 4, *gpus: float) -> NodeDevices:
    listed = [{"index": n, "name": "gpu", "memory_gib": size} for n, size in enumerate(gpus)]
    return NodeDevices.model_validate({"cpu_cores": cores, "gpus": listed})


@given(GPUS, st.integers(0, 8), st.integers(1, 8), st.integers(0, 4), st.floats(0, 200))
def test_a_job_gets_what_it_asks_for_or_nothing(
    gpus: list[Any], cores: int, wanted_cores: int, wanted: int, memory: float
) -> None:
    free = NodeDevices.model_validate({"cpu_cores": cores, "gpus": gpus})
    resources = Resources(
        device="cuda" if wanted else "cpu", gpus=wanted, cpu_cores=wanted_cores, gpu_memory_gib=memory
    )
    large = [gpu["index"] for gpu in gpus if gpu["memory_gib"] >= memory]
    found = choose_devices(resources, free)
    if found is None:
        assert cores < wanted_cores or len(large) < wanted
    else:
        assert found.cpu_cores == wanted_cores <= cores
        assert len(set(found.gpus)) == wanted
        assert set(found.gpus) <= set(large)


# --- nodes -------------------------------------------------------------------------------------------


@pytest.fixture
def node(db: None) -> Node:
    return nodes.register_node("here", {}, devices(6, 24.0, 80.0), {})


def run(job: Job, node: Node, **given: Any) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, node=node, devices=GivenDevices(**given))


def test_jobs_and_exports_that_run_take_devices_and_ended_ones_give_them_back(
    node: Node, job: Job, alice: User
) -> None:
    assert find_free_devices(node) == node.devices
    run(job, node, cpu_cores=2, gpus=[1])
    exporting.request_export(tuned_model(job), alice, "merged")
    node.exports.model.objects.update(state=WorkState.RUNNING, node=node)
    free = find_free_devices(node)
    assert (free.cpu_cores, [gpu.index for gpu in free.gpus]) == (6 - 2 - EXPORT_CORES, [0])
    Job.objects.update(state=State.SUCCEEDED)
    node.exports.model.objects.update(state=WorkState.FINISHED)
    assert find_free_devices(node) == node.devices


def test_the_largest_gpu_is_that_of_a_node_that_is_online(node: Node) -> None:
    assert nodes.find_largest_gpu() == 80.0
    Node.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
    assert nodes.find_largest_gpu() is None
    nodes.record_health("here", {})
    assert nodes.find_largest_gpu() == 80.0, "a report brings it back"


def test_a_node_that_starts_again_has_its_new_devices_and_one_row(node: Node) -> None:
    nodes.register_node("here", {"torch": "2"}, devices(2), {})
    again = Node.objects.get()
    assert (again.pk, again.devices.cpu_cores, again.devices.gpus) == (node.pk, 2, [])


HEALTH = {
    "cpu_busy_percent": 30.0, "memory_gib": 64.0, "memory_free_gib": 40.06, "disk_free_gib": 9.0,
    "gpus": [{"index": 1, "busy_percent": 99.0, "memory_used_gib": 70.0, "memory_gib": 80.0}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("given_devices", "shown"), [({"gpus": [1]}, ["GPU 1"]), ({"cpu_cores": 2}, ["CPU"])]
)
def test_a_job_shows_the_load_of_its_own_devices(
    node: Node, given_devices: dict[str, Any], shown: list[str]
) -> None:
    own = GivenDevices(**given_devices)
    assert nodes.find_usage(node, own) == [], "nothing is known before the first report"
    assert nodes.find_usage(None, own) == []
    node.health = HEALTH
    assert [each.device for each in nodes.find_usage(node, own)] == shown
    assert nodes.read_usage(node)[0].memory_used == 23.9, "used is all but free"


# --- why a job waits ---------------------------------------------------------------------------------


def test_a_waiting_job_says_what_it_waits_for(job: Job, team: Team) -> None:
    Job.objects.filter(pk=job.pk).update(
        state=State.QUEUED, settings=job.settings.model_copy(update={"resources": CPU_JOB})
    )
    job.refresh_from_db()
    assert explain_waiting(job, 1) == "No worker is online. Start one with `make worker`."
    node = nodes.register_node("here", {}, devices(1), {})
    assert explain_waiting(job, 1) == "No worker that is online has the devices this job asks for."
    nodes.register_node("here", {}, devices(3), {})
    assert explain_waiting(job, 1) == "Starting…"
    assert explain_waiting(job, 2) == "Jobs before it start first."
    other = Job.objects.create(
        team=team, name="Other", base_model=job.base_model, dataset_version=job.dataset_version,
        grader_version=job.grader_version, settings=job.settings,
    )  # fmt: skip
    run(other, node, cpu_cores=2)
    assert explain_waiting(job, 1) == "Workers that fit are busy with other jobs or exports."
    job.team.max_running_jobs = 1
    assert explain_waiting(job, 1) == "The team runs 1 job at once, which is its limit."


def test_the_queue_ahead_counts_every_team_and_the_limit_only_the_own(
    job: Job, charlie: User, node: Node
) -> None:
    theirs = finished_job(Team.objects.get(memberships__user=charlie), charlie)
    run(theirs, node, cpu_cores=1)
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)
    found = find_placement(CPU_JOB, theirs.team)
    assert (found.ahead, found.running, found.able) == (1, 1, ["here"])
    assert find_placement(CPU_JOB, job.team).running == 0
