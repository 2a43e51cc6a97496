"""Random graphs around binary convolutions: fused, they compute the bits of LCE's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from engines import EXHAUSTIVE, KERNELS, Engine, assert_same_bits, reference
from random_graphs import RandomGraph

GRAPHS = 1000 if EXHAUSTIVE else 100


def random_size(seed: int) -> tuple[int, int, int]:
    rng = np.random.default_rng(1000 + seed)
    return int(rng.integers(1, 3)), int(rng.integers(1, 10)), int(rng.integers(1, 10))


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_random_graph_equals_lce(seed: int) -> None:
    graph = RandomGraph(seed, random_size(seed))
    content = graph.content()
    for kernel in KERNELS:
        for fuse in (False, True):
            threads = 1 + (seed + len(kernel)) % 4
            engine = Engine(content, kernel=kernel, fuse=fuse, num_threads=threads)
            # Twice, because the second time intermediate memory holds the values of the first.
            for run in range(2):
                inputs = graph.noise(run)
                want = reference(content, inputs)
                case = f"{kernel}, fuse={fuse}, {threads} threads, run {run}"
                assert_same_bits(engine(inputs), want, case)


@pytest.mark.parametrize("seed", range(GRAPHS // 5))
def test_resized_input_equals_a_file_of_that_size(seed: int) -> None:
    small, large = (1, 3, 4), (2, 11, 7)
    graph = RandomGraph(seed, small)
    engine = Engine(graph.content(), num_threads=2)
    for size in (large, small, large):
        other = RandomGraph(seed, size)
        for detail in engine.interpreter.get_input_details():
            engine.interpreter.resize_tensor_input(detail["index"], other.shape)
        engine.interpreter.allocate_tensors()
        inputs = other.noise()
        assert_same_bits(engine(inputs), reference(other.content(), inputs), f"{size}")


def test_profile_shows_that_fusing_leaves_fewer_passes() -> None:
    graph = RandomGraph(3, (1, 4, 4))
    steps = {}
    for fuse in (False, True):
        engine = Engine(graph.content(), fuse=fuse, profile=True)
        engine(graph.noise())
        steps[fuse] = engine.delegate.profile()
        assert all(calls == 1 for _, _, calls in steps[fuse])
    everything = len(engine.interpreter._get_ops_details()) - 1  # type: ignore[attr-defined]
    assert 0 < len(steps[True]) < everything
