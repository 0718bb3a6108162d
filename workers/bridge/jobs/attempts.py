"""Run jobs: claim one, start the engine on it, carry its events home, and keep the lease meanwhile."""

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
from webapp.jobs.states import State
from webapp.jobs.transitions import move
from webapp.registry.services import build_tuned_name, register_model
from webapp.work import messages
from webapp.work.errors import LeaseLost
from webapp.work.queue import held
from workers.bridge import child, judges
from workers.bridge.jobs import demonstrations, files, job_specs, suites, task_files
from workers.bridge.nodes import node_name
from workers.contract import events
from workers.contract.spec import AlarmSettings

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25
WATCH_SECONDS = 1.0


STUCK = "Attempt {} was ended: its process had said nothing for {:.0f} s. Where it stood is in its log below."
WORDLESS = "Attempt {} ended without a word (exit status {})."
NOT_STORED = "The checkpoint of step {} was not stored: {}. The next one is tried when it is due."
GONE = "The stored checkpoint of step {} is missing or damaged."
DRAINING = threading.Event()
T = TypeVar("T")


def drain(**_: Any) -> None:
    """The worker is told to end: its jobs write a checkpoint and go back into the queue."""
    DRAINING.set()


worker_shutting_down.connect(drain)


def run_jobs() -> None:
    """Run jobs that fit this node's free devices until none is left."""
    while not DRAINING.is_set() and (job := claim_job(node_name())):
        messages.notify_workers(JOBS.task)  # another thread may find one for the devices still free
        log.info("Job %s, attempt %s, on %s", job.uid, job.attempt, job.devices)
        Attempt(job).run()


@dataclass
class Attempt:
    """One attempt at one job, on this node."""

    job: Job
    stop: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    pausing: threading.Event = field(default_factory=threading.Event)
    offset: int = 0
    done: events.DoneEvent | None = None
    unstored: list[events.CheckpointEvent] = field(default_factory=list)
    phase: str = "prepare"
    heard: float = 0.0
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
        """The engine ends its training early once it is there."""
        return self.folder / "finish"

    @property
    def patience(self) -> float:
        """Seconds without a word after which the engine counts as stuck."""
        return AlarmSettings.model_validate(self.job.settings.get("alarm", {})).stuck_seconds

    def run(self) -> None:
        """From claim to the job's next state; never raises, so that the worker goes on."""
        renewing = threading.Thread(target=self._keep_lease, name=f"lease {self.job.uid}", daemon=True)
        renewing.start()
        try:
            with judges.connected(
                self.job.team, job_specs.definitions(self.job), self.job.judge_cost
            ) as connection:
                self._engine(self._prepare(connection), connection)
        except LeaseLost:
            log.info("Job %s: attempt %s no longer holds it", self.job.uid, self.job.attempt)
        except judges.JudgeUnreachable as error:
            with transaction.atomic():
                move(self.job.pk, State.PAUSED, guard=held(self.job), error=error.as_json())
        except files.Damaged as error:
            JOBS.fail(self.job, error)
        except Exception as error:  # whatever went wrong here, the job must not hang until its lease ends
            log.exception("Job %s: attempt %s failed in the bridge", self.job.uid, self.job.attempt)
            cause = f"{type(error).__name__}: {error}"
            with suppress(LeaseLost):
                self._lasting(lambda: JOBS.crash(self.job, cause))
        finally:
            self.stop.set()
            renewing.join()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- lease -----------------------------------------------------------------------------------

    def _keep_lease(self) -> None:
        """Look every second what is asked of the job, and renew the lease every third of one.

        Without an answer for a whole lease the job counts as lost.
        """
        renewed = time.monotonic()
        while not self.stop.wait(WATCH_SECONDS):
            now = time.monotonic()
            due = now - renewed > settings.LEASE_SECONDS / 3
            try:
                if due:
                    JOBS.renew(self.job)
                asked = requested_stop(self.job)
            except LeaseLost:
                asked = None
            except DatabaseError as error:
                log.warning("Job %s: lease not renewed: %s", self.job.uid, error)
                connection.close()
                if now - renewed > settings.LEASE_SECONDS:
                    self.lost.set()
                continue
            renewed = now if due else renewed
            if asked is None:
                self.lost.set()
                self._kill()
            elif asked == "pause":
                self.pausing.set()
            elif asked == "finish":
                self._finish()
        connection.close()

    def _finish(self) -> None:
        """Have the engine end its training early; before the folder is there, the next look does it."""
        with suppress(FileNotFoundError):
            self.finish_file.touch()

    def _kill(self) -> None:
        """At once, whatever the other thread is at: the devices may be another job's already."""
        if self.process:
            self.process.kill()

    def _lasting(self, write: Callable[[], T]) -> T:
        """What ``write`` returns; while the database is away it is tried again, as long as the lease lasts.

        ``write`` may have been done although its answer was lost, so it must bear being repeated.
        """
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                log.warning("Job %s: the database is away: %s", self.job.uid, error)
                connection.close()
                if self.lost.wait(WATCH_SECONDS):
                    raise LeaseLost from error

    def _fenced(self, written: bool) -> None:
        if not written:
            raise LeaseLost

    # --- prepare ---------------------------------------------------------------------------------

    def _prepare(self, connection: judges.Connection) -> Path | None:
        """Everything the engine needs, in the attempt's folder. Returns the checkpoint to go on from."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.out.mkdir(parents=True)
        splits = task_files.fetch_splits(self.job, self.folder)
        start = task_files.fetch_start(self.job, self.folder)
        kept = suites.fetch_suites(self.job, self.folder)
        sft = demonstrations.fetch_demonstrations(self.job, self.folder, splits)
        (self.folder / "spec.json").write_text(
            job_specs.job_spec(self.job, splits, connection.json, start, kept, sft).model_dump_json(indent=2)
        )
        checkpoint, step = files.fetch_checkpoint(self.job, self.folder)
        if self.job.promoted_step not in (None, step):
            raise files.CheckpointGone(GONE.format(self.job.promoted_step))
        if self.job.finish_early:
            self._finish()
        job, attempt = self.job.pk, self.job.attempt
        self._fenced(self._lasting(lambda: recording.begin_attempt(job, attempt, step)))
        return checkpoint

    # --- the child -------------------------------------------------------------------------------

    def _engine(self, checkpoint: Path | None, connection: judges.Connection) -> None:
        arguments = ["workers.engine", "run", str(self.folder / "spec.json"), "--out", str(self.out)]
        if checkpoint:
            arguments += ["--resume", str(checkpoint)]
        arguments += ["--judge-cache", str(judges.cache_folder(self.job.team))]
        arguments += ["--finish-file", str(self.finish_file)]
        output = self.folder / "engine.log"
        with child.started(arguments, self.job.devices, output, connection.secrets) as process:
            self.heard, self.process = time.monotonic(), process
            self._follow(process)
        if self.done is None:
            self._died(process.returncode, child.tail(output))
        else:
            done, ending = self.done, ENDINGS[self.done.outcome]
            self._lasting(lambda: ending(self, done))

    def _died(self, status: int | None, said: str) -> None:
        job, attempt = self.job.pk, self.job.attempt
        message = STUCK.format(attempt, self.patience) if self.stuck else WORDLESS.format(attempt, status)
        event = events.LogEvent(level="warning", message=message)
        self._fenced(self._lasting(lambda: recording.record_events(job, attempt, [event])))
        self._lasting(lambda: JOBS.crash(self.job, f"{message}\n{said}"))

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Carry events until the child has ended and its last line is read."""
        told_to_stop: float | None = None
        while True:
            ended = process.poll() is not None
            self._carry()
            if self.lost.is_set():
                raise LeaseLost
            if ended:
                return
            if told_to_stop is None and (self.pausing.is_set() or DRAINING.is_set()):
                process.terminate()
                told_to_stop = time.monotonic()
            if told_to_stop and time.monotonic() - told_to_stop > settings.STOP_GRACE_SECONDS:
                process.kill()
            if self._is_stuck() and not self.stuck:
                self._end_stuck(process)
            time.sleep(POLL_SECONDS)

    def _is_stuck(self) -> bool:
        """Whether the engine has said nothing for too long; preparing may take as long as a download."""
        return self.phase != "prepare" and time.monotonic() - self.heard > self.patience

    def _end_stuck(self, process: subprocess.Popen[bytes]) -> None:
        """Have the child write where it stands into its log, then end it."""
        self.stuck = True
        process.send_signal(signal.SIGUSR1)
        time.sleep(WATCH_SECONDS)
        process.kill()

    def _carry(self) -> None:
        """Record what the child has said since last time; then store the checkpoints it spoke of."""
        batch = list(events.follow(self.out / "events.jsonl", self.offset))
        if batch:
            said, end = [event for event, _ in batch], batch[-1][1]
            job, attempt = self.job.pk, self.job.attempt
            self._fenced(self._lasting(lambda: recording.record_events(job, attempt, said, end)))
            self.offset, self.heard = end, time.monotonic()
            self._heed(said)
        while self.unstored:
            self._lasting(lambda: self._store(self.unstored[0]))
            self.unstored.pop(0)
            self.heard = time.monotonic()  # an upload may take long, and the engine may have spoken meanwhile

    def _heed(self, said: list[events.Event]) -> None:
        for event in said:
            if isinstance(event, events.CheckpointEvent):
                self.unstored.append(event)
            elif isinstance(event, events.PhaseEvent):
                self.phase = event.phase
            elif isinstance(event, events.DoneEvent):
                self.done = event

    def _store(self, event: events.CheckpointEvent) -> None:
        """A storage that is full or away costs a checkpoint and not the job."""
        try:
            self._keep_checkpoint(event)
        except OSError as error:
            job, attempt = self.job.pk, self.job.attempt
            said = events.LogEvent(level="warning", message=NOT_STORED.format(event.step, error))
            self._fenced(recording.record_events(job, attempt, [said]))

    def _keep_checkpoint(self, event: events.CheckpointEvent) -> None:
        folder = self.out / event.path
        if not folder.exists():  # stored before the database's answer was lost
            return
        key, size, sha256 = files.store_checkpoint(self.job, folder, event.step)
        written = recording.record_checkpoint(self.job.pk, self.job.attempt, event.step, key, size, sha256)
        self._fenced(written)
        checkpoints.discard_old(self.job)
        shutil.rmtree(folder, ignore_errors=True)

    # --- endings ---------------------------------------------------------------------------------

    def succeeded(self, done: events.DoneEvent) -> None:
        """Keep the adapter, then say so; both or neither."""
        assert done.package, "the engine succeeded without a package"
        prefix, listed = files.store_package(self.job, self.out / done.package)
        name = build_tuned_name(self.job.base_model, self.job.team, self.job.name)
        with transaction.atomic():
            model = register_model(self.job.team, self.job.base_model, name, prefix, listed)
            self._end(State.SUCCEEDED, done, tuned_model=model, phase="")

    def stopped(self, done: events.DoneEvent) -> None:
        """The pause that was asked for; a stop that nobody asked for (a shutdown) queues the job again."""
        with transaction.atomic():
            asked = Job.objects.select_for_update().get(pk=self.job.pk).stop_requested
            self._end(State.PAUSED if asked or self.pausing.is_set() else State.QUEUED, done)
            messages.notify_workers(JOBS.task)

    def paused(self, done: events.DoneEvent) -> None:
        """The engine paused on its own: its error event says why, and someone resumes the job."""
        with transaction.atomic():
            self._end(State.PAUSED, done)

    def failed(self, done: events.DoneEvent) -> None:
        """The engine said why in its error event."""
        with transaction.atomic():
            self._end(State.FAILED, done)

    def _end(self, state: State, done: events.DoneEvent, **changes: Any) -> None:
        self._fenced(
            move(self.job.pk, state, guard=held(self.job), train_seconds=done.train_seconds, **changes)
        )


ENDINGS = {
    "succeeded": Attempt.succeeded,
    "stopped": Attempt.stopped,
    "paused": Attempt.paused,
    "failed": Attempt.failed,
}
