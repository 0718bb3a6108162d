"""A base model comes from a folder below the operator's roots or from the hub, and from nowhere else."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.base_models.arguments import add_arguments, add_rendering, read_ref, write_arguments
from workers.contract.base_models.sources import find_source
from workers.contract.spec import BaseModelRef

ROOTS = [Path("/models"), Path("/srv/shared")]


@pytest.mark.parametrize(
    ("id", "path", "field"),
    [
        ("org/model", "", None),
        ("org/model-1.5_b", "", None),
        ("model", "", "id"),
        ("", "", "id"),
        ("org/", "", "id"),
        ("../model", "", "id"),
        ("org/model/more", "", "id"),
        ("org/mödel", "", "id"),
        ("-x/model", "", "id"),
        ("model", "/models/m", None),
        ("org/model", "/srv/shared/a/b", None),
        ("two words", "/models/m", "id"),
        ("model", "models/m", "path"),
        ("model", "/models/../etc", "path"),
        ("model", "/etc", "path"),
        ("model", "/models-2/m", "path"),
    ],
)
def test_a_wrong_id_or_path_is_told_apart(id: str, path: str, field: str | None) -> None:
    problem = find_source(id, None, path).find_problem(ROOTS)
    assert (problem[0] if problem else None) == field
    assert problem is None or problem[1]


def test_only_a_model_of_the_hub_has_a_revision_to_load() -> None:
    hub, folder = find_source("org/m", "v1", None), find_source("m", "v1", "/models/m")
    assert (hub.kind, hub.load_name, hub.load_revision) == ("hub", "org/m", "v1")
    assert (folder.kind, folder.load_name, folder.load_revision) == ("folder", "/models/m", "")


def test_a_folder_is_found_below_the_roots_only(tmp_path: Path) -> None:
    inside, outside = find_source("m", None, "models/m"), find_source("m", None, "../elsewhere")
    assert inside.find_folder(tmp_path, [tmp_path / "models"]) == tmp_path / "models" / "m"
    assert outside.find_folder(tmp_path, [tmp_path]) is None
    (tmp_path / "link").symlink_to("/")
    assert find_source("m", None, "link/etc").find_folder(tmp_path, [tmp_path]) is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a worker that has downloaded one commit of org/m."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--org--m"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc\n")
    return cached


@pytest.mark.parametrize("revision", [None, "main", "abc"])
def test_a_downloaded_model_is_found_by_branch_and_by_commit(hub: Path, revision: str | None) -> None:
    found = find_source("org/m", revision, None).find_folder(Path("/"), [])
    assert found == hub / "snapshots" / "abc"


@pytest.mark.parametrize("revision", ["v2", "../../other", "..", "/", "../refs"])
def test_a_revision_that_was_not_downloaded_is_no_folder(hub: Path, revision: str) -> None:
    """Nor does a revision lead out of the model's own snapshots: the roots would not protect anything."""
    (hub.parent / "other").mkdir()
    assert find_source("org/m", revision, None).find_folder(Path("/"), []) is None


def parse(arguments: list[str]) -> BaseModelRef:
    parser = ArgumentParser()
    add_arguments(parser)
    add_rendering(parser)
    return read_ref(parser.parse_args(arguments))


@given(
    st.from_regex(r"[a-z][\w.]{0,8}/[a-z]\w{0,8}", fullmatch=True),
    st.none() | st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True),
    st.none() | st.from_regex(r"/nowhere/[\w ]{1,9}", fullmatch=True),
)
def test_an_engine_reads_the_model_that_a_worker_wrote(
    id: str, revision: str | None, path: str | None
) -> None:
    ref = BaseModelRef(id=id, revision=revision, path=path)
    assert parse(write_arguments(ref)) == ref


def test_the_rendering_travels_in_a_file(tmp_path: Path) -> None:
    ref = BaseModelRef(id="org/m", chat_template="{{ '中' }}", template_arguments={"think": False})
    assert parse(write_arguments(ref, tmp_path / "rendering.json")) == ref


def test_a_folder_on_the_command_line_is_named_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert parse(["--base", str(folder)]) == BaseModelRef(id="my-model", path=str(folder))
    assert parse(["--base", "org/my-model"]) == BaseModelRef(id="org/my-model")
