"""Actions of several people or workers that happen at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection


def run_at_once(*actions: Callable[[], object]) -> list[object]:
    """Run the actions in threads that start together. Return their results and errors, in any order."""
    results: list[object] = []
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results.append(action())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
