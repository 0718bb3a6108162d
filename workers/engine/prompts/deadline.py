"""Time limit for foreign Python code that may never return, such as an endless chat template."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TooSlow(Exception):
    """The code inside a ``deadline`` exceeded its time."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise ``TooSlow`` inside the block after this time, in whichever thread it runs.

    It interrupts Python code between two instructions, but not a single long call into C.
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
            with suppress(TooSlow):  # raised after the block's end and before the lock: it arrives here
                time.sleep(0.01)


def _raise_in(thread: int, error: type[Exception]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
