"""Writes results: JSON that any program can read, and large matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet.files import replacing, write_json

MATRIX = "confusion"


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, and their confusion matrices beside it.

    NaN and infinity become `null`, and NumPy's numbers become plain numbers. The matrices (rows:
    truth) go to `NAME-confusion.npz`, under the keys of the results, because 1,000 classes would
    take 21 MB of JSON.

    Args:
        path: The JSON file.
        results: The results of `judge` or `evaluate_only`.
    """
    small, matrices = {**results}, {}
    for name, part in results.items():
        if isinstance(part, Mapping) and MATRIX in part:
            small[name] = {**part}
            matrices[name] = np.asarray(small[name].pop(MATRIX))
    if matrices:
        with replacing(path.with_name(f"{path.stem}-{MATRIX}.npz")) as temporary:
            np.savez_compressed(temporary, **matrices)
    write_json(path, small)
