"""The files that hold what was measured: JSON that any program reads, and the large matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet.files import replacing, write_json

MATRIX = "confusion"


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, and their confusion matrices beside it.

    A number that is NaN or infinite becomes `null`, and one of NumPy's a plain one. The matrices
    (rows: truth) go to `NAME-confusion.npz`, as `keras` and `lce`: for 1,000 classes they would be
    21 MB of JSON.

    Args:
        path: The JSON file.
        results: As `judge` or `evaluate_only` give them.
    """
    matrices = {
        name: np.asarray(part[MATRIX])
        for name, part in results.items()
        if isinstance(part, Mapping) and MATRIX in part
    }
    if matrices:
        with replacing(path.with_name(f"{path.stem}-{MATRIX}.npz")) as temporary:
            np.savez_compressed(temporary, **matrices)
    write_json(path, plain(results))


def plain(value: Any) -> Any:
    """A value as JSON has it, without confusion matrices."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items() if key != MATRIX}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
