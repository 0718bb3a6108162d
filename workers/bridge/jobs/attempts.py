"""Attempts at jobs: claim one, run the engine, record its events and renew the lease."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, transaction

from webapp.jobs import checkpoints, recording
from webapp.jobs.models import Job
from webapp.jobs.queue import JOBS, claim_job, requested_stop
from webapp.jobs.results.result_file import store_results
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.registry.services import register_model
from webapp.work import messages
from webapp.work.errors import LeaseLost
from webapp.work.queue import fence_item
from workers.bridge import child, judges
from workers.bridge.jobs import demonstrations, files, job_specs, suites, task_files
from workers.bridge.nodes import node_name
from workers.contract import adapter, events

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25
WATCH_SECONDS = 1.0


STUCK = "Attempt {} was ended: its process sent no event for {:.0f} s. The log below shows its stack."
CRASHED = "Attempt {} ended without an error event (exit status {})."
NOT_STORED = "The checkpoint of step {} was not stored: {}. The next one is tried when it is due."
GONE = "The stored checkpoint of step {} is missing or damaged."
DRAINING = threading.Event()
T = TypeVar("T")


def drain(**_: Any) -> None:
    """Stop this worker's jobs, which write a checkpoint and return to the queue."""
    DRAINING.set()


worker_shutting_down.connect(drain)


def run_jobs() -> None:
    """Run queued jobs that fit this node's free devices, until there is none."""
    while not DRAINING.is_set() and (job := claim_job(node_name())):
        messages.notify_workers(JOBS.task)  # the remaining devices may suffice for another job
        log.info("Job %s, attempt %s, on %s", job.uid, job.attempt, job.devices)
        Attempt(job).run()


@dataclass
class Attempt:
    """One attempt at one job, on this node.

    Two threads share it: ``run`` follows the engine, ``_keep_lease`` renews the lease and reads requests.
    """

    job: Job
    stop: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    pausing: threading.Event = field(default_factory=threading.Event)
    offset: int = 0
    done: events.DoneEvent | None = None
    unstored: list[events.CheckpointEvent] = field(default_factory=list)
    phase: str = "prepare"
    last_event: float = 0.0
    stuck: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return Path(settings.WORK_DIR) / str(self.job.uid) / f"attempt_{self.job.attempt}"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def finish_file(self) -> Path:
        """The engine ends training early once this file exists."""
        return self.folder / "finish"

    @property
    def patience(self) -> float:
        """Seconds without an event after which the engine counts as stuck."""
        return self.job.settings.alarm.stuck_seconds

    def run(self) -> None:
        """Bring the claimed job to its next state. Never raises, so that the worker goes on."""
        renewing = threading.Thread(target=self._keep_lease, name=f"lease {self.job.uid}", daemon=True)
        renewing.start()
        try:
            definitions = job_specs.list_definitions(self.job)
            with judges.connect_judges(
                self.job.team, definitions, self.lost, spent=self.job.judge_cost, report=self._warn
            ) as connection:
                self._run_engine(self._prepare(connection), connection)
        except LeaseLost:
            log.info("Job %s: attempt %s no longer holds it", self.job.uid, self.job.attempt)
        except judges.JudgeUnreachable as error:
            self._end_without_judge(error)
        except files.Damaged as error:
            JOBS.fail(self.job, error)
        except Exception as error:  # otherwise the job would hang until its lease ends
            log.exception("Job %s: attempt %s failed in the bridge", self.job.uid, self.job.attempt)
            cause = f"{type(error).__name__}: {error}"
            with suppress(LeaseLost):
                self._retry(lambda: JOBS.crash(self.job, cause))
        finally:
            self.stop.set()
            renewing.join()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- lease -----------------------------------------------------------------------------------

    def _keep_lease(self) -> None:
        """Read requests for the job every second, and renew the lease after each third of it.

        Without the database for a whole lease the job counts as lost.
        """
        renewed = time.monotonic()
        while not self.stop.wait(WATCH_SECONDS):
            now = time.monotonic()
            due = now - renewed > settings.LEASE_SECONDS / 3
            try:
                if due:
                    JOBS.renew(self.job)
                request = requested_stop(self.job)
            except LeaseLost:
                request = None
            except DatabaseError as error:
                log.warning("Job %s: lease not renewed: %s", self.job.uid, error)
                connection.close()
                if now - renewed > settings.LEASE_SECONDS:
                    self.lost.set()
                continue
            renewed = now if due else renewed
            if request is None:
                self.lost.set()
                self._kill()
            elif request == "pause":
                self.pausing.set()
            elif request == "finish":
                self._request_finish()
        connection.close()

    def _request_finish(self) -> None:
        """Let the engine end training early. Without the folder yet, the next second tries again."""
        with suppress(FileNotFoundError):
            self.finish_file.touch()

    def _kill(self) -> None:
        """Kill the engine at once: another job may already have its devices."""
        if self.process:
            self.process.kill()

    def _retry(self, write: Callable[[], T]) -> T:
        """Return the result of ``write``; repeat it while the database is away and the lease lasts.

        The database may have done it although its answer was lost, so ``write`` must be repeatable.
        """
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                log.warning("Job %s: the database is away: %s", self.job.uid, error)
                connection.close()
                if self.lost.wait(WATCH_SECONDS):
                    raise LeaseLost from error

    def _warn(self, message: str) -> None:
        """Write a warning into the job's log."""
        job, attempt = self.job.pk, self.job.attempt
        event = events.LogEvent(level="warning", message=message)
        self._require(self._retry(lambda: recording.record_events(job, attempt, [event])))

    def _end_without_judge(self, error: judges.JudgeUnreachable) -> None:
        """Pause the job with the reason, or queue it for another worker if this one shuts down."""
        state, values = (State.QUEUED, {}) if DRAINING.is_set() else (State.PAUSED, {"error": error.error})
        with transaction.atomic():
            change_state(self.job.pk, state, guard=fence_item(self.job), **values)
            messages.notify_workers(JOBS.task)

    def _require(self, written: bool) -> None:
        """Raise ``LeaseLost`` if the fencing token made the database refuse a write."""
        if not written:
            raise LeaseLost

    # --- prepare ---------------------------------------------------------------------------------

    def _prepare(self, connection: judges.Connection) -> Path | None:
        """Copy all that the engine needs to the attempt's folder. Return the checkpoint to resume from."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.out.mkdir(parents=True)
        dataset = task_files.fetch_splits(self.job, self.folder)
        initial_adapter = task_files.fetch_initial_adapter(self.job, self.folder)
        retained = suites.fetch_suites(self.job, self.folder)
        sft = demonstrations.fetch_demonstrations(self.job, self.folder, dataset)
        spec = job_specs.build_job_spec(
            self.job, dataset, connection.endpoints, initial_adapter, retained, sft
        )
        (self.folder / "spec.json").write_text(spec.model_dump_json(indent=2))
        checkpoint, step = files.fetch_checkpoint(self.job, self.folder)
        if self.job.promoted_step not in (None, step):
            raise files.CheckpointGone(GONE.format(self.job.promoted_step))
        if self.job.finish_early:
            self._request_finish()
        job, attempt = self.job.pk, self.job.attempt
        self._require(self._retry(lambda: recording.begin_attempt(job, attempt, step)))
        return checkpoint

    # --- the engine ------------------------------------------------------------------------------

    def _run_engine(self, checkpoint: Path | None, connection: judges.Connection) -> None:
        arguments = ["workers.engine", "run", str(self.folder / "spec.json"), "--out", str(self.out)]
        if checkpoint:
            arguments += ["--resume", str(checkpoint)]
        arguments += ["--judge-cache", str(judges.cache_folder(self.job.team))]
        arguments += ["--finish-file", str(self.finish_file)]
        output = self.folder / "engine.log"
        secrets = connection.secrets | job_specs.pass_secrets(self.job)
        with child.start_child(arguments, self.job.devices, output, secrets) as process:
            self.last_event, self.process = time.monotonic(), process
            self._follow(process, connection.moved)
        if self.done is None:
            self._crash(process.returncode, child.read_tail(output))
        else:
            done, ending = self.done, ENDINGS[self.done.outcome]
            self._retry(lambda: ending(self, done))

    def _crash(self, status: int | None, log_tail: str) -> None:
        attempt = self.job.attempt
        message = STUCK.format(attempt, self.patience) if self.stuck else CRASHED.format(attempt, status)
        self._warn(message)
        self._retry(lambda: JOBS.crash(self.job, f"{message}\n{log_tail}"))

    def _follow(self, process: subprocess.Popen[bytes], moved: threading.Event) -> None:
        """Record events until the engine has ended and its last line is read.

        If a judge's model server has ``moved``, the engine is stopped; the next attempt finds the server.
        """
        stopped_at: float | None = None
        while True:
            ended = process.poll() is not None  # before reading: then no last line is missed
            self._record_events()
            if self.lost.is_set():
                raise LeaseLost
            if ended:
                return
            if stopped_at is None and any(each.is_set() for each in (self.pausing, DRAINING, moved)):
                process.terminate()
                stopped_at = time.monotonic()
            if stopped_at and time.monotonic() - stopped_at > settings.STOP_GRACE_SECONDS:
                process.kill()
            if self._is_stuck() and not self.stuck:
                self._end_stuck(process)
            time.sleep(POLL_SECONDS)

    def _is_stuck(self) -> bool:
        """Return True if the engine sent no event for too long. Preparing has no limit: it may download."""
        return self.phase != "prepare" and time.monotonic() - self.last_event > self.patience

    def _end_stuck(self, process: subprocess.Popen[bytes]) -> None:
        """Let the engine write its stack to its log, then end it."""
        self.stuck = True
        process.send_signal(signal.SIGUSR1)
        time.sleep(WATCH_SECONDS)
        process.kill()

    def _record_events(self) -> None:
        """Record new events of the engine, then store the checkpoints that they announce."""
        batch = list(events.follow(self.out / "events.jsonl", self.offset))
        if batch:
            new, end = [event for event, _ in batch], batch[-1][1]
            job, attempt = self.job.pk, self.job.attempt
            self._require(self._retry(lambda: recording.record_events(job, attempt, new, end)))
            self.offset, self.last_event = end, time.monotonic()
            self._handle(new)
        while self.unstored:
            self._retry(lambda: self._store(self.unstored[0]))
            self.unstored.pop(0)
            self.last_event = time.monotonic()  # events during a long upload are not read yet

    def _handle(self, new: list[events.Event]) -> None:
        for event in new:
            if isinstance(event, events.CheckpointEvent):
                self.unstored.append(event)
            elif isinstance(event, events.PhaseEvent):
                self.phase = event.phase
            elif isinstance(event, events.DoneEvent):
                self.done = event

    def _store(self, event: events.CheckpointEvent) -> None:
        """Store a checkpoint. If storage is full or away, log it and go on without."""
        try:
            self._store_checkpoint(event)
        except OSError as error:
            self._warn(NOT_STORED.format(event.step, error))

    def _store_checkpoint(self, event: events.CheckpointEvent) -> None:
        folder = self.out / event.path
        if not folder.exists():  # it was stored, but the database's answer was lost
            return
        stored = files.store_checkpoint(self.job, folder, event.step)
        weights = files.read_checkpoint_hash(folder, adapter.WEIGHTS)
        job, attempt = self.job.pk, self.job.attempt
        written = recording.record_checkpoint(job, attempt, event.step, *stored, weights)
        self._require(written)
        checkpoints.discard_old(self.job)
        shutil.rmtree(folder, ignore_errors=True)

    # --- endings ---------------------------------------------------------------------------------

    def handle_success(self, done: events.DoneEvent) -> None:
        """Store the adapter and register it with the job's success, or neither."""
        assert done.package, "the engine succeeded without a package"
        prefix, stored = files.store_package(self.job, self.out / done.package)
        with transaction.atomic():
            model = register_model(
                self.job.team, self.job.base_model, self.job.model_name, prefix, [{**file} for file in stored]
            )
            self._end(State.SUCCEEDED, done, tuned_model=model, result_file=store_results(self.job), phase="")

    def handle_stop(self, done: events.DoneEvent) -> None:
        """Pause the job on request. Without a request the worker is shutting down: queue the job again."""
        with transaction.atomic():
            requested = Job.objects.select_for_update().get(pk=self.job.pk).stop_requested
            self._end(State.PAUSED if requested or self.pausing.is_set() else State.QUEUED, done)
            messages.notify_workers(JOBS.task)

    def handle_pause(self, done: events.DoneEvent) -> None:
        """Pause the job; the engine's error event has the reason."""
        with transaction.atomic():
            self._end(State.PAUSED, done)

    def handle_failure(self, done: events.DoneEvent) -> None:
        """Fail the job; the engine's error event has the reason."""
        with transaction.atomic():
            self._end(State.FAILED, done)

    def _end(self, state: State, done: events.DoneEvent, **changes: Any) -> None:
        self._require(
            change_state(
                self.job.pk, state, guard=fence_item(self.job), train_seconds=done.train_seconds, **changes
            )
        )


ENDINGS = {
    "succeeded": Attempt.handle_success,
    "stopped": Attempt.handle_stop,
    "paused": Attempt.handle_pause,
    "failed": Attempt.handle_failure,
}
