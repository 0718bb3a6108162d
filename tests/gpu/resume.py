"""Item 7: a job ended by SIGTERM and one ended by SIGKILL go on to the adapter of the undisturbed job.

The three run at once, and then both resumed ones: their imports take longer than their training. All use
deterministic algorithms, so that the adapters can be equal bit for bit.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.gpu.engine import finish, start, start_apart
from tests.gpu.report import Context
from tests.gpu.whole_job import write_starter_job
from tests.workers.engine.training.test_resume import newest_checkpoint, wait_for
from tests.workers.engine_jobs import events_of, of_type

CLOSE = 1e-3  # relative difference of the adapters


def check(context: Context) -> None:
    """Disturb the jobs after step 2, resume them, and compare steps and adapters."""
    spec = write_starter_job(context, steps=context.sized(16, 8))
    signals = context.sized((signal.SIGTERM, signal.SIGKILL), (signal.SIGTERM,))
    disturbed = {each: context.folder / each.name for each in signals}
    running = {each: start_apart(spec, out) for each, out in disturbed.items()}
    whole = None if context.small else start(context, spec, context.folder / "whole")
    for each, process in running.items():
        wait_for(disturbed[each], '"type":"metrics","step":2', process)
        process.send_signal(each)
    for process in running.values():
        process.wait()
    if whole is None:  # the small form's runs are over when they have begun
        whole = start(context, spec, context.folder / "whole")
    resumed = {
        each: start(context, spec, resumed_folder(out), newest_checkpoint(out))
        for each, out in disturbed.items()
    }
    context.require("The undisturbed job ends with status 0.", finish(whole) == 0)
    for each, run in resumed.items():
        context.require(f"The job resumed after {each.name} ends with status 0.", finish(run) == 0)
        _compare(context, each.name, disturbed[each], context.folder / "whole")


def resumed_folder(out: Path) -> Path:
    """Return the folder for the rest of a disturbed job."""
    return out.with_name(f"{out.name}-resumed")


def _compare(context: Context, name: str, disturbed: Path, whole: Path) -> None:
    began = int(newest_checkpoint(disturbed).name.split("-")[1])
    expected, found = read_adapter(whole), read_adapter(resumed_folder(disturbed))
    difference = float((found - expected).norm() / expected.norm())
    context.measure(**{f"{name}_resumed_from": began, f"{name}_difference": difference})
    context.require(f"{name}: the adapters agree within {CLOSE:g}.", difference <= CLOSE)
    before = [step for step in steps_of(disturbed) if step <= began]
    all_steps = before + steps_of(resumed_folder(disturbed))
    context.require(f"{name}: every step is reported once.", all_steps == steps_of(whole))


def steps_of(out: Path) -> list[int]:
    """The steps whose metrics a job reported, in their order."""
    return [event.step for event in of_type(events_of(out), "metrics")]


def read_adapter(out: Path) -> torch.Tensor:
    """All of an adapter's numbers in one vector."""
    tensors: dict[str, Any] = load_file(out / "package" / "adapter_model.safetensors")
    return torch.cat([tensors[name].flatten().float() for name in sorted(tensors)])
