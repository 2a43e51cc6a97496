"""Every operation of LCE, with every kernel, against LCE's reference kernels: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from engines import EXHAUSTIVE, KERNELS, Engine, assert_same_bits, reference
from random_ops import RandomFile

OPERATIONS_OF_A_FILE = 50
FILES = 400 if EXHAUSTIVE else 40


@pytest.mark.parametrize("seed", range(FILES))
def test_random_operations_equal_lce(seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = RandomFile(rng)
    for _ in range(OPERATIONS_OF_A_FILE):
        file.add_random()
    content = file.builder.finish()
    want = reference(content, file.inputs)
    for kernel in KERNELS:
        for fuse in (False, True):
            threads = int(rng.integers(1, 5))
            engine = Engine(content, kernel=kernel, fuse=fuse, num_threads=threads)
            for run in range(2):
                got = engine(file.inputs)
                assert_same_bits(got, want, f"{kernel}, fuse={fuse}, {threads} threads, run {run}")
