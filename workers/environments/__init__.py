"""Environments run here: one backend a kind, sessions that a model or a person plays."""

from __future__ import annotations

from workers.contract.environments import Environment
from workers.environments.backend import Backend
from workers.environments.python import PythonBackend
from workers.environments.source import find_problems

KINDS = {"python": PythonBackend}

__all__ = ["Backend", "find_problems", "open_backend"]


def open_backend(environment: Environment) -> Backend:
    """Return the backend of an environment, to be used as a context manager.

    Raises ``EnvironmentFault``, here or on entering.
    """
    return KINDS[environment.type](environment)
