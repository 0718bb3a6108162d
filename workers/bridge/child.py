"""Child processes: they own their devices, see no secret, and die with the worker."""

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

PASSED_ON = {
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    "VIRTUAL_ENV", "GROOVE_CGROUP", "GROOVE_GRADER_PACKAGES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "GROOVE_OUTBOUND_PROXY",
}  # fmt: skip
PASSED_PREFIXES = ("HF_", "CUDA_", "NCCL_", "TRANSFORMERS_", "TORCH_")
TAIL_BYTES = 8000
ENGINE = "workers.engine"


def environment(devices: GivenDevices) -> dict[str, str]:
    """What a child may know: paths and its devices, not the database, the broker or any key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_PREFIXES)
    }
    return kept | {
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
def handed(secrets: dict[str, bytes]) -> Iterator[dict[str, int]]:
    """Pipes that hold secrets, an option each: ``{"--keys-fd": …}``. Yields the options' descriptors.

    So a secret is on no command line, in no environment and on no disk. Each must fit a pipe (64 kB).
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


def options(descriptors: dict[str, int]) -> list[str]:
    """File descriptors as a command line names them."""
    return [text for option, number in descriptors.items() for text in (option, str(number))]


@contextmanager
def started(
    arguments: list[str], devices: GivenDevices, log: Path, secrets: dict[str, bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m <arguments>`` with a lifeline to this process; killed, with its group, on leaving."""
    read_end, write_end = os.pipe()
    try:
        with handed(secrets or {}) as descriptors:
            process = _begin(arguments, devices, log, descriptors | {"--lifeline": read_end})
        os.close(read_end)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(write_end)
        warm_up()


def warm_up() -> None:
    """Have a spare engine wait for the next job; not while a job begins, which needs the cores itself."""
    spare_engine.BENCH.fill(environment(GivenDevices()))


def _begin(
    arguments: list[str], devices: GivenDevices, log: Path, descriptors: dict[str, int]
) -> subprocess.Popen[bytes]:
    """The waiting spare where it will do, a fresh process otherwise."""
    spare = None if devices.gpus or arguments[0] != ENGINE else spare_engine.BENCH.take()
    if spare and spare.give(arguments[1:], environment(devices), log, descriptors):
        return spare.process
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments, *options(descriptors)],
            cwd=settings.BASE_DIR,
            env=environment(devices),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=list(descriptors.values()),
            start_new_session=True,
        )


def tail(log: Path) -> str:
    """The end of a log."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
