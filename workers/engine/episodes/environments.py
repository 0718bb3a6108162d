"""Environments of a job, opened once for all its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from workers.contract.environments import Environment
from workers.contract.spec import JobSpec
from workers.engine import errors
from workers.environments import open_backend
from workers.environments.backend import Backend, EnvironmentFault


@contextmanager
def open_environments(spec: JobSpec) -> Iterator[dict[str, Backend]]:
    """Open the environment of each task that has one; that of rows without a task is ``""``.

    Equal definitions share a backend. Raises ``EngineError``.
    """
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}
        try:
            for environment in list_environments(spec).values():
                key = environment.model_dump_json()
                if key not in opened:
                    opened[key] = stack.enter_context(open_backend(environment))
        except EnvironmentFault as fault:
            raise errors.environment_fault(fault.cause, fault.remedy, fault.line) from fault
        yield {task: opened[each.model_dump_json()] for task, each in list_environments(spec).items()}


def list_environments(spec: JobSpec) -> dict[str, Environment]:
    """Return the environment of each task that has one."""
    found = {"": spec.environment, **{name: task.environment for name, task in spec.tasks.items()}}
    return {task: environment for task, environment in found.items() if environment is not None}
