"""Measures Python's cost per training step: `fit` with all callbacks of a run against a bare loop.

    python benchmarks/step_python.py

The network is one small layer, so a step is only Python and TensorFlow's call. The CPU time of 100
steps is subtracted from that of 1,100, which removes the cost per epoch. The target is 0.5 ms, 1 %
of a step of 50 ms.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import larq_groupnet  # noqa: E402, F401 (Before TensorFlow: it chooses legacy Keras.)

IMAGES, LABELS = np.zeros((4, 8), "f4"), np.zeros((4,), "i4")
ROUNDS = 3


def main() -> None:
    """Prints a line for each round."""
    for number in range(ROUNDS):
        found = {}
        for kind in ("bare loop", "Keras' fit", "fit with callbacks"):
            with contextlib.redirect_stdout(io.StringIO()):
                found[kind] = (seconds(kind, 1100) - seconds(kind, 100)) / 1000
        texts = (f"{kind} {1e6 * value:.0f} us" for kind, value in found.items())
        print(f"round {number + 1}: {', '.join(texts)} of CPU time a step", flush=True)


def seconds(kind: str, steps: int) -> float:
    """CPU seconds of `steps` steps."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat()
    model = tf.keras.Sequential([tf.keras.layers.Input((8,)), tf.keras.layers.Dense(4)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(True)
    model.compile(tf.keras.optimizers.SGD(1e-3), loss, metrics=["accuracy"])
    model.fit(data, steps_per_epoch=5, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        called = run_callbacks(Path(folder)) if kind.endswith("callbacks") else []
        step, batches = model.make_train_function(), iter(data)
        start = time.process_time()
        if kind == "bare loop":
            for _ in range(steps):
                step(batches)
        else:
            model.fit(data, steps_per_epoch=steps, callbacks=called, verbose=1)
        return time.process_time() - start


def run_callbacks(folder: Path) -> list[Any]:
    """The callbacks of a run that act on each step."""
    from types import SimpleNamespace

    import tensorflow as tf

    from larq_groupnet.recipes import Phase
    from larq_groupnet.runs.saving import SnapshotCallback
    from larq_groupnet.runs.snapshots import Position, Snapshots
    from larq_groupnet.runs.stopping import StopSignal
    from larq_groupnet.training.callbacks import BestWeights, PhaseCSVLogger
    from larq_groupnet.training.distribution import Runtime
    from larq_groupnet.training.fit import callbacks

    session: Any = SimpleNamespace(
        write_dir=folder, runtime=Runtime(), data=SimpleNamespace(batch_size=4)
    )
    best = BestWeights(folder / "b", folder / "l", "accuracy", None, False, {})
    made = callbacks(session, Phase("tanh", 1, 1e-3, False), IMAGES, best)
    made = [each for each in made if not isinstance(each, BestWeights | PhaseCSVLogger)]
    snapshots = SnapshotCallback(
        Snapshots(folder / "snapshots"),
        StopSignal(folder),
        Position("tanh", 0),
        best,
        folder / "history.csv",
        tf.distribute.get_strategy(),
        minutes=10,
    )
    return [*made, snapshots]


if __name__ == "__main__":
    main()
