"""A time limit for foreign Python code that may never return, such as a chat template with endless loops."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TooSlow(Exception):
    """The code inside a ``deadline`` took longer than it was given."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises ``TooSlow`` inside the block once it has run for so long, in whichever thread it runs.

    It ends Python code between two of its instructions; a single long call into C is not broken off.
    """
    done, lock, thread = False, threading.Lock(), threading.get_ident()
    fired = False

    def end() -> None:
        nonlocal fired
        with lock:
            if not done:
                fired = True
                _raise_in(thread, TooSlow)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    try:
        timer.start()
        yield
    except TooSlow:
        raise TooSlow(f"it took more than {seconds:g} s") from None
    finally:
        timer.cancel()
        with lock:
            done = True
        if fired:
            with suppress(TooSlow):  # fired between the block's end and the lock: it comes now
                time.sleep(0.01)


def _raise_in(thread: int, error: type[Exception]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
