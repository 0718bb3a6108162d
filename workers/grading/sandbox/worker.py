"""The program inside the sandbox: locks itself in, then grades batches with one source.

It cannot read Groove's files: the host passes this file's text to the interpreter of ``zygote.py``. Both
pipes carry frames, a 4-byte little-endian length and JSON. A batch is one frame in, and one frame out for
each item as soon as it is graded, so that the host knows the current item if this process dies.
"""

from __future__ import annotations

import decimal
import io
import json
import linecache
import math
import numbers
import os
import random
import signal
import struct
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import Any, NoReturn, TypedDict

FILE = "grader.py"
OWN_FILES = ("<worker>", "<program>", "<zygote>", "<string>")
TRACEBACK_FRAMES = 20
PLAIN = {"reward", "seconds", "stdout"}
Reply = dict[str, object]
Namespace = dict[str, Any]


class Limits(TypedDict):
    """The fields of ``workers.grading.results.Limits`` that count in here."""

    item_seconds: float
    load_seconds: float
    memory_bytes: int
    printed_characters: int
    stdout_characters: int
    detail_characters: int
    verdicts: bool


class Config(TypedDict):
    """What the host tells: readable paths, limits, and the function of ``sample.py``."""

    readable: list[str]
    limits: Limits
    sample_of: Callable[[str], dict[str, object]]


class TimeIsUp(BaseException):
    """Not an ``Exception``, so that ``except Exception`` in a grader does not swallow it."""


class PrintedTooMuch(BaseException):
    """Not an ``Exception``, for the same reason."""


class Printed(io.TextIOBase):
    """Keeps the first characters that are printed, drops the rest and refuses a flood."""

    def __init__(self, kept: int, most: int) -> None:
        self._kept, self._most = kept, most
        self.forget()

    def forget(self) -> None:
        """Start again, for the next item."""
        self._count, self._text = 0, ""

    def write(self, text: str) -> int:
        self._text += text[: self._kept - len(self._text)]
        self._count += len(text)
        if self._count > self._most:
            raise PrintedTooMuch(f"printed more than {self._most} characters")
        return len(text)

    def text(self) -> str:
        return self._text


class Pipes:
    """The two private pipes to the host."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies = requests, replies

    def receive(self) -> Any:
        """Return the host's next frame; end this process if the host is gone."""
        (size,) = struct.unpack("<I", self._read(4))
        return json.loads(self._read(size))

    def send(self, reply: Reply) -> None:
        """Send a reply. A plain reward, the usual case, is a shorter frame: ``[reward, seconds]``."""
        if reply.keys() == PLAIN and not reply["stdout"]:
            data = f"[{reply['reward']!r},{reply['seconds']!r}]".encode()
        else:
            data = json.dumps(reply).encode()
        frame = struct.pack("<I", len(data)) + data
        sent = os.write(self._replies, frame)
        while sent < len(frame):
            sent += os.write(self._replies, frame[sent:])

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(self._requests, min(size - len(data), 1 << 20))
            if not chunk:
                os._exit(0)
            data += chunk
        return bytes(data)


class Guard:
    """Runs code of a source within limits and turns whatever it raises into a reply."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._printed = Printed(limits["stdout_characters"], limits["printed_characters"])
        signal.signal(signal.SIGALRM, _raise_time_is_up)

    def run_within(self, run: Callable[[], Reply], seconds: float, what: str) -> Reply:
        """Return the value of ``run``, or its error. ``spent`` asks for a fresh process."""
        printed = self._printed
        printed.forget()
        sys.stdout = sys.stderr = printed
        reply: Reply
        started = time.perf_counter()
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                reply = run()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except TimeIsUp as error:
            stopped = f"{what} took longer than {seconds:g} seconds and was stopped.\n"
            reply = {"error": stopped + self.describe(error), "spent": True}
        except MemoryError as error:
            reply = {"error": self.describe(error), "spent": True}
        except BaseException as error:
            reply = {"error": self.describe(error)}
        reply["seconds"] = time.perf_counter() - started
        reply["stdout"] = printed.text()
        return reply

    def describe(self, error: BaseException) -> str:
        """Return the end of the traceback, through the user's lines and the libraries that they call."""
        frames = traceback.extract_tb(error.__traceback__)
        shown = traceback.StackSummary.from_list([f for f in frames if f.filename not in OWN_FILES])
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(shown[-TRACEBACK_FRAMES:])]
        lines += [] if isinstance(error, TimeIsUp) else traceback.format_exception_only(error)
        text = "".join(lines if shown else lines[1:])
        for folder in sys.path:
            text = text.replace(f"{folder}/", "")
        return text[-self._limits["detail_characters"] :].rstrip()


class Runner(Guard):
    """Grades with one source. ``sample_of`` turns a completion into the argument ``sample``."""

    def __init__(self, limits: Limits, sample_of: Callable[[str], dict[str, object]]) -> None:
        super().__init__(limits)
        self._sample_of = sample_of
        self._module = types.ModuleType("grader")
        sys.modules["grader"] = self._module

    def load(self, source: str) -> Reply:
        """Run the source's top level."""
        show_in_tracebacks(FILE, source)

        def run() -> Reply:
            exec(compile(source, FILE, "exec"), self._module.__dict__)  # noqa: S102
            if not callable(getattr(self._module, "grade", None)):
                raise NameError("the source defines no function grade(sample, item)")
            return {"reward": 0.0}

        return self.run_within(run, self._limits["load_seconds"], "loading the source")

    def grade(self, text: str, item: dict[str, object], seed: int) -> Reply:
        """Return the verdict on one item."""
        sample = self._sample_of(text)
        verdicts = self._limits["verdicts"]

        def run() -> Reply:
            reseed(seed)
            result = self._module.grade(sample, item)
            return result if verdicts else {"reward": to_number(result, "grade()")}

        return self.run_within(run, self._limits["item_seconds"], "grade()")


def show_in_tracebacks(file: str, source: str) -> None:
    """Let tracebacks quote the lines of a source that is no file."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)


def _raise_time_is_up(*_: object) -> NoReturn:
    raise TimeIsUp


def reseed(seed: int) -> None:
    """Start the random numbers of ``random`` and numpy anew."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % (1 << 32))


def to_number(value: Any, source: str) -> float:
    """Return a finite float. Refuses NaN, text and ``None``; takes all real numbers and truth values."""
    if callable(getattr(value, "item", None)) and getattr(value, "size", 1) == 1:
        value = value.item()  # numpy's and pandas' numbers, and arrays of one
    if not isinstance(value, numbers.Real | decimal.Decimal) and not getattr(
        value, "is_extended_real", False
    ):
        raise TypeError(f"{source} must return a number, it returned {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{source} must return a finite number, it returned {number}")
    return number


def main(config: Config, jail: Namespace, requests: int, replies: int) -> None:
    """Serve until the host closes the pipe. ``jail`` is the namespace of ``jail.py``."""
    pipes = Pipes(requests, replies)
    try:
        layers = jail["lock"](config["readable"], config["limits"]["memory_bytes"])
    except jail["JailUnavailable"] as error:
        pipes.send({"unavailable": list(error.args)})
        return
    pipes.send({"layers": layers})
    runner = Runner(config["limits"], config["sample_of"])
    pipes.send(runner.load(pipes.receive()["source"]))
    while True:
        for text, item, seed in pipes.receive():
            pipes.send(runner.grade(text, item, seed))
