"""Environments of a job, opened once for all its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from workers.contract.environments import Environment
from workers.contract.spec import JobSpec
from workers.engine import errors
from workers.engine.prompts.data import Row
from workers.environments import open_backend
from workers.environments.backend import Backend, EnvironmentFault


@contextmanager
def open_environments(spec: JobSpec, secrets: Mapping[str, str]) -> Iterator[dict[str, Backend]]:
    """Open the environment of each task that has one; that of rows without a task is ``""``.

    Equal definitions share a backend. ``secrets`` are those that definitions name. Raises ``EngineError``,
    also for an environment that fails inside the block.
    """
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}
        try:
            for environment in list_environments(spec).values():
                key = environment.model_dump_json()
                if key not in opened:
                    opened[key] = stack.enter_context(open_backend(environment, secrets))
            yield {task: opened[each.model_dump_json()] for task, each in list_environments(spec).items()}
        except EnvironmentFault as fault:
            raise errors.environment_fault(fault.cause, fault.remedy, fault.line) from fault


def list_environments(spec: JobSpec) -> dict[str, Environment]:
    """Return the environment of each task that has one."""
    found = {"": spec.environment, **{name: task.environment for name, task in spec.tasks.items()}}
    return {task: environment for task, environment in found.items() if environment is not None}


def offer_tools(environments: Mapping[str, Backend], rows: Iterable[Row]) -> None:
    """Give rows without tools those of their environment: rows for an MCP server come without."""
    for row in rows:
        if not row.tools and row.task in environments:
            row.tools.extend(environments[row.task].list_tools())
