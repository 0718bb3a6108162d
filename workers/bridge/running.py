"""Runs one work item: claim, folder, lease, and its result or error."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from webapp.work.errors import LeaseLost, WorkFailed
from webapp.work.models import Leased
from webapp.work.queue import Queue
from workers.bridge import child
from workers.contract import events
from workers.contract.devices import GivenDevices

WATCH_SECONDS = 1.0
Item = TypeVar("Item", bound=Leased)
Work = Callable[[Item, Path, threading.Event], None]
log = logging.getLogger(__name__)


def run_item(queue: Queue[Item], pk: int, work: Work[Item]) -> None:
    """Claim the queued item and run ``work`` on it. A second message for the same item does nothing."""
    if item := queue.claim(pk):
        run_claimed(queue, item, work)


def run_claimed(queue: Queue[Item], item: Item, work: Work[Item]) -> None:
    """Run ``work`` on the item, with a folder of its own and an event that is set once the lease is lost.

    ``work`` stores its result by ``queue.finish``. Any exception ends the item, so that no page waits.
    """
    folder = Path(settings.WORK_DIR) / queue.name / f"{item.pk}-{item.attempt}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with keep_lease(queue, item) as lost:
            work(item, folder, lost)
    except LeaseLost:
        log.warning("Attempt %s of %s lost its lease", item.attempt, item)
    except WorkFailed as error:
        queue.fail(item, error)
    except (OperationalError, InterfaceError) as error:  # the item is tried again
        log.warning("%s: the database went away: %s", item, error)
        connection.close()
        queue.crash(item, f"{type(error).__name__}: {error}")
    except Exception as error:
        log.exception("%s failed", item)
        queue.fail(item, WorkFailed(f"{type(error).__name__}: {error}", queue.remedy))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def keep_lease(queue: Queue[Item], item: Item) -> Iterator[threading.Event]:
    """Renew the item's lease in a thread. Yields an event that is set once the lease is lost."""
    stop, lost = threading.Event(), threading.Event()
    thread = threading.Thread(target=_renew, args=(queue, item, stop, lost), daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        stop.set()
        thread.join()


def _renew(queue: Queue[Item], item: Item, stop: threading.Event, lost: threading.Event) -> None:
    renewed = time.monotonic()
    while not stop.wait(settings.LEASE_SECONDS / 3):
        try:
            queue.renew(item)
            renewed = time.monotonic()
        except LeaseLost:
            lost.set()
            break
        except DatabaseError as error:  # it may return within the lease
            log.warning("%s: lease not renewed: %s", item, error)
            connection.close()
            if time.monotonic() - renewed > settings.LEASE_SECONDS:
                lost.set()
    connection.close()


def run_engine(arguments: list[str], out: Path, seconds: float, lost: threading.Event, remedy: str) -> None:
    """Run a command of the engine in a child process, which writes its events and log below ``out``.

    Raises ``WorkFailed`` with what the engine reported, or with ``remedy`` if it took too long, and
    ``LeaseLost`` after it ended the child.
    """
    output = out / "child.log"
    with child.start_child(["workers.engine", *arguments], GivenDevices(cpu_cores=1), output) as process:
        _wait(process, seconds, lost, remedy)
    if process.returncode:
        log.warning("%s ended with %s: %s", arguments[0], process.returncode, child.read_tail(output)[-2000:])
        raise _find_error(out) or WorkFailed(
            f"The process ended with {process.returncode}: {child.read_tail(output)[-800:]}",
            "Often memory is the reason: use a worker with more memory.",
        )


def _wait(process: subprocess.Popen[bytes], seconds: float, lost: threading.Event, remedy: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            process.wait(WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            if lost.is_set():
                raise LeaseLost from None
            continue
        return
    raise WorkFailed(f"It took more than {seconds:.0f} s.", remedy)


def _find_error(out: Path) -> WorkFailed | None:
    for event, _ in events.follow(out / "events.jsonl", 0):
        if isinstance(event, events.ErrorEvent):
            return WorkFailed(event.message, event.remedy)
    return None
