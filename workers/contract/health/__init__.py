"""Health of a job: rules on its metrics, with a threshold, the evidence and a remedy.

The engine raises alarms by these rules during training, and the job page shows them. Metrics have the names
of ``docs/metrics.md``; the sources of the thresholds are in ``docs/health.md``. Rises of rewards are measured
in standard deviations, so that a rule holds for any scale of reward. Imports the standard library only.
"""

from workers.contract.health.history import (
    EARLY,
    HELD_OUT,
    REWARD,
    Check,
    History,
    Limits,
    Step,
    find_needed_steps,
    is_solved,
)
from workers.contract.health.rules import (
    BY_CODE,
    RULES,
    Finding,
    Rule,
    find_alarms,
    list_plotted,
    select_metrics,
)

__all__ = [
    "BY_CODE",
    "EARLY",
    "HELD_OUT",
    "REWARD",
    "RULES",
    "Check",
    "Finding",
    "History",
    "Limits",
    "Rule",
    "Step",
    "find_alarms",
    "find_needed_steps",
    "is_solved",
    "list_plotted",
    "select_metrics",
]
