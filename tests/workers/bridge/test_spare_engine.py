"""A spare engine runs the next job at once, and never outlives its worker."""

from __future__ import annotations

import json
from pathlib import Path

from tests.workers.engine_jobs import rows
from workers.bridge import child
from workers.bridge.jobs import spare_engine
from workers.contract.devices import GivenDevices
from workers.contract.events import parse


def sample_spec(folder: Path, model: Path) -> Path:
    path = folder / "spec.json"
    spec = {
        "base_model": {"id": "tests/tiny", "path": str(model)},
        "rows": rows(2),
        "max_completion_length": 4,
    }
    path.write_text(json.dumps(spec))
    return path


def test_the_spare_becomes_the_jobs_child_with_its_own_environment_log_and_lifeline(
    tmp_path, model_folder, settings
):
    settings.WARM_ENGINES = True
    spare_engine.SPARES.fill(child.build_environment(GivenDevices()))
    spare = spare_engine.SPARES._spare
    assert spare
    log, out = tmp_path / "engine.log", tmp_path / "out"
    arguments = ["workers.engine", "sample", str(sample_spec(tmp_path, model_folder)), "--out", str(out)]
    with child.start_child(arguments, GivenDevices(cpu_cores=1), log) as process:
        assert process.pid == spare.process.pid
        assert process.wait(90) == 0, log.read_text()
    assert len((out / "samples.jsonl").read_text().splitlines()) == 2
    assert parse((out / "events.jsonl").read_text().splitlines()[-1]).type == "done"
    assert spare_engine.SPARES._spare is not spare  # the next one waits already
    spare_engine.SPARES.clear()


def test_a_spare_without_an_order_ends_when_its_worker_does():
    spare = spare_engine.start_spare(child.build_environment(GivenDevices()))
    spare.orders.close()
    assert spare.process.wait(90) == 0


def test_a_spare_that_died_is_noticed_and_a_fresh_process_does_the_job(tmp_path, model_folder, settings):
    settings.WARM_ENGINES = True
    spare_engine.SPARES.fill(child.build_environment(GivenDevices()))
    assert spare_engine.SPARES._spare
    dead = spare_engine.SPARES._spare.process
    dead.kill()
    dead.wait()
    arguments = ["workers.engine", "sample", str(sample_spec(tmp_path, model_folder)), "--out"]
    settings.WARM_ENGINES = False
    with child.start_child(
        [*arguments, str(tmp_path / "out")], GivenDevices(cpu_cores=1), tmp_path / "engine.log"
    ) as process:
        assert process.pid != dead.pid
        assert process.wait(90) == 0
