"""Errors of launching and changing jobs. Their texts are for users."""

from __future__ import annotations

from collections.abc import Mapping


class SettingsInvalid(ValueError):
    """Path of a setting, such as ``grpo.learning_rate`` -> problem that prevents a launch."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors.items()))
        self.errors = errors


class ActionRefused(ValueError):
    """An action on jobs is refused. The message has the reason and, if there is one, a remedy."""


class WrongState(ActionRefused):
    """The state of the job does not allow the action; the message names the state."""
