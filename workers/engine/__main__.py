"""The engine's command line: ``python -m workers.engine run | sample | verify | export | inspect``.

Arguments and spec are checked before torch is imported, so that help and mistakes show at once.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workers.contract.base_models.arguments import add_arguments, add_rendering, read_ref
from workers.contract.events import DoneEvent, EventWriter, PhaseEvent
from workers.contract.exports import KINDS
from workers.contract.methods import METHODS
from workers.contract.spec import JobSpec, SampleSpec
from workers.engine import errors, parallel
from workers.grading.judge import Judges, read_keys
from workers.process import follow_lifeline, set_environment

Spec = TypeVar("Spec", bound=BaseModel)


def main(argv: list[str] | None = None) -> int:
    arguments = _build_parser().parse_args(argv)
    status: int = arguments.command(arguments)
    return status


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.engine", description="Train, sample, verify and export."
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run a job: train, evaluate and package")
    run.add_argument("spec", type=Path, help="the job spec, a JSON file")
    run.add_argument("--out", type=Path, required=True, help="folder for events and artifacts")
    run.add_argument("--resume", type=Path, help="checkpoint folder to continue from")
    run.add_argument("--finish-file", type=Path, help="training ends early once this file exists")
    run.add_argument(
        "--processes", type=int, help="processes that train together; default: one, or one per GPU"
    )
    run.add_argument("--lifeline", type=int, help="file descriptor; the engine exits when it closes")
    run.add_argument("--keys-fd", type=int, help="file descriptor with the judges' keys, a JSON object")
    run.add_argument(
        "--secrets-fd", type=int, help="file descriptor with the secrets of environments' servers, likewise"
    )
    run.add_argument("--judge-cache", type=Path, help="folder for verdicts of judges, kept after the job")
    run.set_defaults(command=_run)
    sample = commands.add_parser("sample", help="sample completions from a base model")
    sample.add_argument("spec", type=Path, help="the sample spec, a JSON file")
    sample.add_argument("--out", type=Path, required=True, help="folder for samples.jsonl")
    sample.add_argument("--lifeline", type=int, help="file descriptor; the engine exits when it closes")
    sample.set_defaults(command=_sample)
    wait = commands.add_parser("wait", help="import everything, then run one order")
    wait.add_argument("--orders", type=int, required=True, help="file descriptor of a socket")
    wait.set_defaults(command=_wait)
    verify = commands.add_parser("verify", help="check a package against the trainer's log-probabilities")
    verify.add_argument("package", type=Path)
    verify.add_argument("--base", type=Path, required=True, help="folder of the base model")
    verify.add_argument("--rollouts", type=Path, help="default: verification.json beside the package")
    verify.set_defaults(command=_verify)
    export = commands.add_parser("export", help="write a package in another format and check it")
    export.add_argument("package", type=Path)
    add_arguments(export)
    export.add_argument("--kind", choices=KINDS, required=True)
    export.add_argument("--out", type=Path, required=True, help="folder for the export and events")
    export.add_argument(
        "--rollouts", type=Path, help="verification.json to compare with; default: peft's own"
    )
    export.add_argument("--lifeline", type=int, help="file descriptor; the engine exits when it closes")
    export.set_defaults(command=_export)
    inspect = commands.add_parser("inspect", help="describe a base model, without its weights")
    add_arguments(inspect)
    add_rendering(inspect)
    inspect.add_argument("--out", type=Path, required=True, help="folder for inspection.json")
    inspect.add_argument("--lifeline", type=int, help="file descriptor; the engine exits when it closes")
    inspect.set_defaults(command=_inspect)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    faulthandler.register(signal.SIGUSR1)  # the worker sends it to log the stack of a stuck job
    spec = _read_spec(arguments.spec, JobSpec)
    stopping = _stop_on_sigterm()
    follow_lifeline(arguments.lifeline)

    judges = Judges(spec.judges, read_keys(arguments.keys_fd), arguments.judge_cache)
    secrets = read_keys(arguments.secrets_fd)

    folder, out = arguments.spec.resolve().parent, arguments.out.resolve()
    if parallel.rank():
        return _follow(spec, folder, out, arguments.resume)

    def work(emit: EventWriter) -> int:
        emit(PhaseEvent(phase="prepare"))
        processes = arguments.processes or max(1, spec.resources.gpus)
        command = parallel.follower_arguments(arguments.spec, arguments.out, arguments.resume)
        with parallel.start_followers(processes if METHODS[spec.method].samples else 1, command) as followers:
            from workers.engine.run import Job, run_job

            followers.watch(lambda lost: errors.emit_failure(emit, errors.follower_lost(lost)))
            finishing = arguments.finish_file.exists if arguments.finish_file else lambda: False
            job = Job(spec, folder, out, emit, stopping.is_set, judges, finishing, secrets)
            return run_job(job, arguments.resume, followers)

    return _report(arguments.out, work)


def _follow(spec: JobSpec, folder: Path, out: Path, resume: Path | None) -> int:
    """Run a follower: it reports nothing, and only the leader stops it."""
    set_environment()
    from workers.engine.run import Job

    Job(spec, folder, out, lambda _: None, lambda: False).follow(resume)
    return 0


def _sample(arguments: argparse.Namespace) -> int:
    spec = _read_spec(arguments.spec, SampleSpec)
    stopping = _stop_on_sigterm()
    follow_lifeline(arguments.lifeline)

    def work(emit: EventWriter) -> int:
        emit(PhaseEvent(phase="prepare"))
        from workers.engine.sampling.base_completions import sample

        def check_stop(_: int) -> None:
            if stopping.is_set():
                raise errors.Stopped

        sample(spec, arguments.spec.resolve().parent, arguments.out, emit, check_stop)
        return 0

    return _report(arguments.out, work)


def _wait(arguments: argparse.Namespace) -> int:
    set_environment()
    from workers.engine.spare_process import run_one_order

    return run_one_order(arguments.orders, main)


def _verify(arguments: argparse.Namespace) -> int:
    set_environment()
    from workers.engine.packaging.verify import verify

    stored = arguments.rollouts or arguments.package.parent / "verification.json"
    verdict = verify(arguments.package, arguments.base, stored)
    print(json.dumps(verdict))
    return 0 if verdict["ok"] else 1


def _export(arguments: argparse.Namespace) -> int:
    stopping = _stop_on_sigterm()
    follow_lifeline(arguments.lifeline)

    def work(emit: EventWriter) -> int:
        emit(PhaseEvent(phase="package"))
        from workers.engine.base_model.sources import locate
        from workers.engine.export.run import export

        def check_stop() -> None:
            if stopping.is_set():
                raise errors.Stopped

        base, _ = locate(read_ref(arguments), Path())
        kind = KINDS[arguments.kind]
        export(arguments.package, base, kind, arguments.out, arguments.rollouts, check_stop)
        return 0

    return _report(arguments.out, work)


def _inspect(arguments: argparse.Namespace) -> int:
    follow_lifeline(arguments.lifeline)
    set_environment()
    from workers.engine.base_model.inspection import write_inspection

    write_inspection(read_ref(arguments), Path(), arguments.out)
    return 0


def _read_spec(path: Path, kind: type[Spec]) -> Spec:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        sys.exit(f"Cannot read the spec {path}: {error.strerror}. Give the path of a JSON file.")
    except ValidationError as error:
        sys.exit(f"The spec {path} is not valid; correct these fields:\n{error}")


def _stop_on_sigterm() -> threading.Event:
    stopping = threading.Event()

    def stop(*_: Any) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    return stopping


def _report(out: Path, work: Callable[[EventWriter], int]) -> int:
    """Run ``work`` with an event writer and turn failures into events."""
    set_environment()
    out.mkdir(parents=True, exist_ok=True)
    events = out / "events.jsonl"
    _drop_torn_line(events)
    with events.open("a") as file:
        emit = EventWriter(file)
        try:
            return work(emit)
        except errors.Stopped:
            emit(DoneEvent(outcome="stopped", step=0))
            return 0
        except Exception as error:
            errors.emit_failure(emit, error)
            return 1


def _drop_torn_line(path: Path) -> None:
    """Cut half a line that a killed writer left, or the next event would be appended to it."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


if __name__ == "__main__":
    sys.exit(main())
