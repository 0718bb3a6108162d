"""Runs inside the sandbox: the verdict that Groove's own graders return."""

from typing import TypedDict


class Verdict(TypedDict):
    """A grade as the sandbox sends it. Without a reward, or with one of 0, ``error_class`` says why."""

    reward: float | None
    sub_rewards: dict[str, float]
    error_class: str | None
    detail: str


def build_verdict(
    reward: float | None,
    detail: str,
    error_class: str | None = None,
    sub_rewards: dict[str, float] | None = None,
) -> Verdict:
    """Return a verdict; ``detail`` explains the reward or the error."""
    return {
        "reward": reward,
        "sub_rewards": sub_rewards or {},
        "error_class": error_class,
        "detail": detail,
    }
