"""Environments run here: one backend a kind, sessions that a model or a person plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workers.contract.environments import Environment
from workers.environments.backend import Backend
from workers.environments.python import PythonBackend
from workers.environments.remote.mcp import McpBackend
from workers.environments.remote.ors import OrsBackend
from workers.environments.source import find_problems

KINDS: dict[str, Callable[[Any, Mapping[str, str]], Backend]] = {
    "python": lambda environment, _: PythonBackend(environment),
    "ors": OrsBackend,
    "mcp": McpBackend,
}

__all__ = ["Backend", "find_problems", "open_backend"]


def open_backend(environment: Environment, secrets: Mapping[str, str] | None = None) -> Backend:
    """Return the backend of an environment, to be used as a context manager.

    ``secrets``: by the names that definitions give. Raises ``EnvironmentFault``, here or on entering.
    """
    return KINDS[environment.type](environment, secrets or {})
