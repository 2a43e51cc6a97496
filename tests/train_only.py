"""`train.py` that stops after training, with the layout `two_stages`."""

import runpy
import sys
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "train.py"

if __name__ == "__main__":
    sys.path.insert(0, str(TRAIN.parent))
    import two_stages  # noqa: F401 (registers a layout)

    from larq_groupnet.training import run

    run.judge = lambda *given: None
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")
