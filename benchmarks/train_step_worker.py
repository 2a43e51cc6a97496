"""Times steps and answers in lines of JSON; for `train_step.py`, with any framework."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable


def usage() -> tuple[float, float, int]:
    """Wall time and CPU time of all threads, in seconds, and peak resident bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def serve(build: Callable[[], tuple[Callable[[], object], Callable[[], object]]]) -> None:
    """Runs one step per line read from stdin.

    Args:
        build: Builds the network; returns a function that runs a step and one that counts the
            operations of its graph.
    """
    _, before, _ = usage()
    step, count = build()
    about = {"build": usage()[1] - before}
    for number, _ in enumerate(sys.stdin):
        clock, cpu, _ = usage()
        step()
        later, used, memory = usage()
        answer = {"seconds": later - clock, "cpu": used - cpu, "memory": memory}
        if number == 0:
            answer = {**about, **answer, "ops": count()}
        print(json.dumps(answer), flush=True)
