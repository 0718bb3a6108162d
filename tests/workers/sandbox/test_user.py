"""The walls hold for an ordinary user as they do for root: the whole battery again, without any power."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.sandbox.test_sandbox import ATTACKS, EXPECTED, LIMITS, ROOT, WALLS, aimed, attack
from workers.grading.sandbox import walls
from workers.grading.sandbox.pool import Sandbox

NOBODYS = 54321

# A private view of the file system in which folders that are closed to others, as root's home is, show just
# the interpreter and this project; then all power is given up.
AS_USER = """
set -e
mount --make-rprivate /
show() {
  if [ -n "$1" ]; then
    mkdir -p "$3" && mount --bind "$2" "$3"
    mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$2" && mount --move "$3" "$2"
  fi
}
show "$1" "$2" "$5/python"
show "$3" "$4" "$5/project"
cd "$4"
uid=$6; shift 6
exec setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all --bounding-set=-all "$@"
"""


def escaped(folder: Path, wall: str) -> dict[str, str]:
    """Runs every attack behind a wall; what got through, or failed in another way than it should."""
    wrong: dict[str, str] = {}
    with aimed(folder) as targets, Sandbox(ATTACKS, LIMITS, WALLS[wall]) as sandbox:
        for name, said in EXPECTED.items():
            outcome = attack(sandbox, name, targets)
            if outcome.reward is not None or not re.search(said, outcome.detail or ""):
                wrong[name] = f"{outcome.reward} {outcome.detail}"
        if Path(targets["secret"]).read_text() != "TOPSECRET":
            wrong["secret"] = "changed"
    return wrong


def closed_folder(path: Path) -> str:
    """The topmost folder on the way to ``path`` that others may not enter; empty if there is none."""
    way = [*reversed(path.parents), path]
    return next((str(folder) for folder in way if not folder.stat().st_mode & 0o005), "")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter: pytest closes its own whenever another session of it starts."""
    with tempfile.TemporaryDirectory(prefix="groove-user-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests of the sandbox ran as an ordinary user already")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "setpriv"))), reason="needs unshare and setpriv")
@pytest.mark.parametrize("wall", ["bubblewrap", "no outer wall"])
def test_no_attack_gets_through_as_an_ordinary_user(wall: str, open_folder: Path) -> None:
    inside = open_folder / "inside"
    inside.mkdir()
    os.chown(inside, NOBODYS, NOBODYS)
    python, project = Path(sys.base_prefix).resolve(), ROOT.resolve()
    shown = [closed_folder(python), str(python), closed_folder(project), str(project)]
    arguments = [*shown, str(open_folder), str(NOBODYS)]
    command = [sys.executable, "-m", "tests.workers.sandbox.test_user", str(inside), wall]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", AS_USER, "sh", *arguments, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(inside), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        umask=0o022,  # the site's own would close what the ordinary user must read
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine gives no private view of its files: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"uid": NOBODYS, "escaped": {}}


if __name__ == "__main__":
    assert walls.packages() is not None
    result = escaped(Path(sys.argv[1]), sys.argv[2])
    print(json.dumps({"uid": os.getuid(), "escaped": result}))
