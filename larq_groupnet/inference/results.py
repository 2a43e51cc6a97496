"""The files that hold what was measured: JSON that any program reads, and the large matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet.files import replacing, write_json

MATRIX = "confusion"


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, and their confusion matrices beside it.

    A number that is NaN or infinite becomes `null`, and one of NumPy's a plain one. The matrices
    (rows: truth) go to `NAME-confusion.npz`, under the keys of the results: for 1,000 classes they
    would be 21 MB of JSON.

    Args:
        path: The JSON file.
        results: As `judge` or `evaluate_only` give them.
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
