"""Compares this machine with LCE's interpreter on the files of networks.py.

    python same.py FOLDER [BACKEND]

needs this package, a TFLite interpreter, and nothing else. Ends with status 1 if an output differs.
"""

import platform
import sys
from pathlib import Path

import numpy as np

from larq_groupnet_runtime import Interpreter
from larq_groupnet_runtime.backends import find_backend

LEAST_AGREEMENT = 0.995
"""Where the float layers round in another order, a sign near 0 flips now and then."""

LARGEST_ERROR = 0.02
"""Median over the positions, of the largest output."""


def main(folder: Path, name: str | None) -> int:
    """Prints a line for each network."""
    backend = find_backend(name)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, ",
        end="",
    )
    print(f"{backend.name} {backend.version}")
    wrong = 0
    files = sorted(folder.glob("*.npz"))
    for file in files:
        data = np.load(file)
        network = Interpreter(file.with_suffix(".tflite"), num_threads=2, backend=backend.name)
        found, expected = network.predict(data["x"]), data["expected"]
        same = float((found.argmax(-1) == expected.argmax(-1)).mean())
        error = np.abs(found - expected) / np.abs(expected).max()
        right = same >= LEAST_AGREEMENT and np.median(error) <= LARGEST_ERROR
        wrong += not right
        print(
            f"  {file.stem:14} {'same' if right else 'DIFFERENT'}: class {same:.2%}, "
            f"largest error {error.max():.1e}, median {np.median(error):.1e}"
        )
    return int(wrong > 0 or not files)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
