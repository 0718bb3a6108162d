"""Child processes: they see their devices only, get secrets by pipes only, and end with the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from workers.bridge.jobs import spare_engine
from workers.contract.devices import GivenDevices

PASSED_VARIABLES = {
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    "VIRTUAL_ENV", "GROOVE_CGROUP", "GROOVE_GRADER_PACKAGES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "GROOVE_OUTBOUND_PROXY",
}  # fmt: skip
PASSED_PREFIXES = ("HF_", "CUDA_", "NCCL_", "TRANSFORMERS_", "TORCH_")
TAIL_BYTES = 8000
ENGINE = "workers.engine"


def build_environment(devices: GivenDevices) -> dict[str, str]:
    """Return a child's environment: paths and its devices, without database, broker or keys."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_VARIABLES or name.startswith(PASSED_PREFIXES)
    }
    return inherited | {
        "GROOVE_OUTBOUND_ALLOW": ",".join(settings.OUTBOUND_ALLOW),
        "GROOVE_BASE_MODEL_ROOTS": ",".join(map(str, settings.BASE_MODEL_ROOTS)),
        "GROOVE_ALLOW_PICKLED_WEIGHTS": str(int(settings.ALLOW_PICKLED_WEIGHTS)),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices.gpus)),
        "OMP_NUM_THREADS": str(devices.cpu_cores or 1),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def open_pipes(secrets: dict[str, bytes]) -> Iterator[dict[str, int]]:
    """Open a pipe for each secret, by option: ``{"--keys-fd": …}``. Yields the options' descriptors.

    Secrets are then on no command line, in no environment and on no disk. Each must fit into a pipe (64 kB).
    """
    ends = {option: os.pipe() for option in secrets}
    try:
        for option, (_, write_end) in ends.items():
            os.write(write_end, secrets[option])
            os.close(write_end)
        yield {option: read_end for option, (read_end, _) in ends.items()}
    finally:
        for read_end, _ in ends.values():
            os.close(read_end)


def format_options(descriptors: dict[str, int]) -> list[str]:
    """Return the command line's options for file descriptors."""
    return [text for option, number in descriptors.items() for text in (option, str(number))]


@contextmanager
def start_child(
    arguments: list[str], devices: GivenDevices, log: Path, secrets: dict[str, bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m <arguments>`` with a lifeline; kill it, with its group, at the end of the block."""
    read_end, write_end = os.pipe()
    try:
        with open_pipes(secrets or {}) as descriptors:
            process = _start_process(arguments, devices, log, descriptors | {"--lifeline": read_end})
        os.close(read_end)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(write_end)
        start_spare_engine()  # after the child: the start of a job needs the cores itself


def start_spare_engine() -> None:
    """Start a spare engine for the next job."""
    spare_engine.SPARES.fill(build_environment(GivenDevices()))


def _start_process(
    arguments: list[str], devices: GivenDevices, log: Path, descriptors: dict[str, int]
) -> subprocess.Popen[bytes]:
    """Use the spare engine if it fits, or else start a process."""
    spare = None if devices.gpus or arguments[0] != ENGINE else spare_engine.SPARES.take()
    if spare and spare.send_order(arguments[1:], build_environment(devices), log, descriptors):
        return spare.process
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments, *format_options(descriptors)],
            cwd=settings.BASE_DIR,
            env=build_environment(devices),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=list(descriptors.values()),
            start_new_session=True,
        )


def read_tail(log: Path) -> str:
    """Return the end of a log."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
