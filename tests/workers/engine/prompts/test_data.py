"""A data file is the one of the job, and its first bad row is named by its line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.spec import DataFile
from workers.engine.errors import EngineError
from workers.engine.prompts.data import Row, find_file, read_rows, sample_rows

ROW = {"row_id": "a", "messages": [{"role": "user", "content": "x"}], "item": {"answer": 1}, "task": "t"}


def write(folder: Path, *lines: str) -> Path:
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_row_has_its_fields_and_graders_do_not_see_its_task(tmp_path: Path) -> None:
    (row, other) = read_rows(
        write(tmp_path, json.dumps(ROW), "", json.dumps(ROW | {"row_id": 7, "tools": None}))
    )
    assert (row.row_id, row.task, dict(row.item), row.tools) == ("a", "t", {"answer": 1}, [])
    assert (other.row_id, other.tools) == ("7", [])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        "3",
        "null",
        '"text"',
        "{}",
        json.dumps({"row_id": "a", "messages": []}),
        json.dumps(ROW | {"messages": []}),
        json.dumps(ROW | {"item": 3}),
        json.dumps(ROW | {"item": "text"}),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(EngineError, match=r"train\.jsonl, line 3") as caught:
        read_rows(write(tmp_path, json.dumps(ROW), "  ", line, json.dumps(ROW)))
    assert caught.value.code == "data_row_invalid"
    assert "upload a new version" in caught.value.remedy


def test_a_file_that_is_missing_or_changed_is_not_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(ROW))
    file = DataFile(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), rows=1)
    assert find_file(file, tmp_path) == path
    path.write_text(path.read_text() + " ")
    with pytest.raises(EngineError, match="is not the one of this job") as caught:
        find_file(file, tmp_path)
    assert (caught.value.code, file.sha256 in caught.value.message) == ("data_hash_mismatch", True)
    path.unlink()
    with pytest.raises(EngineError, match=r"train\.jsonl is not at") as caught:
        find_file(file, tmp_path)
    assert caught.value.code == "data_missing"


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_a_sample_of_rows_keeps_their_order_and_depends_on_the_seed_alone(
    number: int, limit: int, seed: int
) -> None:
    rows = [Row(str(index), [], {}) for index in range(number)]
    found = sample_rows(rows, limit, seed)
    assert len(found) == min(number, limit)
    assert [int(row.row_id) for row in found] == sorted({int(row.row_id) for row in found})
    assert sample_rows(rows, limit, seed) == found
