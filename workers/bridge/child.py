"""Child processes: they own their devices, see no secret, and die with the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings

PASSED_ON = {
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    "VIRTUAL_ENV", "GROOVE_CGROUP", "GROOVE_GRADER_PACKAGES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
}  # fmt: skip
PASSED_PREFIXES = ("HF_", "CUDA_", "NCCL_", "VLLM_", "TRANSFORMERS_", "TORCH_")
TAIL_BYTES = 8000


def environment(devices: dict[str, Any]) -> dict[str, str]:
    """What a child may know: paths and its devices, not the database, the broker or any key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_PREFIXES)
    }
    return kept | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices.get("gpus", []))),
        "OMP_NUM_THREADS": str(devices.get("cpu_cores", 1)),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def handed(secrets: dict[str, bytes]) -> Iterator[tuple[list[str], list[int]]]:
    """Pipes that hold secrets, an option each: ``{"--keys-fd": …}``. Yields the arguments and descriptors.

    So a secret is on no command line, in no environment and on no disk. Each must fit a pipe (64 kB).
    """
    ends = {option: os.pipe() for option in secrets}
    try:
        for option, (_, write_end) in ends.items():
            os.write(write_end, secrets[option])
            os.close(write_end)
        arguments = [text for option, (read_end, _) in ends.items() for text in (option, str(read_end))]
        yield arguments, [read_end for read_end, _ in ends.values()]
    finally:
        for read_end, _ in ends.values():
            os.close(read_end)


@contextmanager
def started(
    arguments: list[str], devices: dict[str, Any], log: Path, secrets: dict[str, bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m <arguments>`` with a lifeline to this process; killed, with its group, on leaving."""
    read_end, write_end = os.pipe()
    try:
        with log.open("ab") as output, handed(secrets or {}) as (options, descriptors):
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, *options, "--lifeline", str(read_end)],
                cwd=settings.BASE_DIR,
                env=environment(devices),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[read_end, *descriptors],
                start_new_session=True,
            )
        os.close(read_end)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(write_end)


def tail(log: Path) -> str:
    """The end of a log."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
