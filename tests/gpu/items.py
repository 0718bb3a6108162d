"""One item of the check, in this process: ``python -m tests.gpu.items NUMBER --out FOLDER [--small]``."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

MODULES = {
    0: "environment",
    1: "passes",
    2: "lora_layer",
    3: "sampling",
    4: "grpo_step",
    5: "out_of_memory",
    6: "whole_job",
    7: "resume",
    8: "sharding",
}


def main() -> None:
    """Run the item that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.items", description=__doc__)
    parser.add_argument("number", type=int, choices=MODULES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    told = parser.parse_args()
    run(told.number, told.out, told.small)


def run(number: int, folder: Path, small: bool) -> None:
    """Run one item; its findings go to ``folder/report.jsonl``."""
    if number != 0:  # item 0 says itself what cannot be imported
        from tests.gpu.report import Context

        check = import_module(f"tests.gpu.{MODULES[number]}").check
        check(Context(folder, small))
        return
    from tests.gpu import environment

    environment.check_imports(folder, small)


if __name__ == "__main__":
    main()
