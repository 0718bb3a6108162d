"""Placement: find the free devices of a node, and choose those for a work item."""

from __future__ import annotations

from webapp.work.models import Node, WorkState
from workers.contract.devices import GivenDevices, NodeDevices
from workers.contract.exports import CPU_CORES as EXPORT_CORES
from workers.contract.spec import Resources


def find_free_devices(node: Node) -> NodeDevices:
    """Return the node's devices without those of the jobs and exports that run there."""
    running = [job.devices for job in node.jobs.filter(state=WorkState.RUNNING).only("devices")]
    taken = {index for devices in running for index in devices.gpus}
    exports = node.exports.filter(state=WorkState.RUNNING).count()
    cores = sum(devices.cpu_cores for devices in running) + exports * EXPORT_CORES
    return NodeDevices(
        cpu_cores=node.devices.cpu_cores - cores,
        gpus=[gpu for gpu in node.devices.gpus if gpu.index not in taken],
    )


def choose_devices(wanted: Resources, free: NodeDevices) -> GivenDevices | None:
    """Choose devices for a request; None if too few are free."""
    gpus = [gpu.index for gpu in free.gpus if gpu.memory_gib >= wanted.gpu_memory_gib]
    if free.cpu_cores < wanted.cpu_cores or len(gpus) < wanted.gpus:
        return None
    return GivenDevices(cpu_cores=wanted.cpu_cores, gpus=gpus[: wanted.gpus])
