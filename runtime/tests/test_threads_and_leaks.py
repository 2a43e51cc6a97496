"""Interpreters in threads, after a fork, sharing a delegate; many loads without a leak."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from engines import Engine, assert_same_bits, reference
from random_graphs import RandomGraph


def test_two_interpreters_in_two_threads() -> None:
    graphs = [RandomGraph(seed, (1, 9, 9)) for seed in (0, 1)]
    contents = [graph.content() for graph in graphs]
    inputs = [graph.noise() for graph in graphs]
    want = [reference(c, x) for c, x in zip(contents, inputs, strict=True)]
    failures: list[BaseException] = []

    def run(i: int) -> None:
        try:
            engine = Engine(contents[i], num_threads=2)
            for _ in range(100):
                assert_same_bits(engine(inputs[i]), want[i], f"thread {i}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_runs_after_a_fork() -> None:
    """The child has none of the threads, and computes the same."""
    graph = RandomGraph(2, (1, 20, 20))
    engine = Engine(graph.content(), num_threads=4)
    inputs = graph.noise()
    want = [values.copy() for values in engine(inputs)]
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a, b) for a, b in zip(engine(inputs), want, strict=True))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def resident_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_many_loads_leak_nothing() -> None:
    graph = RandomGraph(4, (1, 16, 16))
    content, inputs = graph.content(), graph.noise()

    def load(times: int) -> None:
        for _ in range(times):
            Engine(content, num_threads=2)(inputs)

    load(30)
    before = resident_kilobytes()
    load(200)
    # One load takes about a megabyte; the allocator keeps some of it, but not of each.
    assert resident_kilobytes() - before < 8_000
    assert len(os.listdir("/proc/self/task")) < 50
