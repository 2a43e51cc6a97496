"""Savings of `fold`: operations of the converted ResNet-18, unfolded and folded, as Markdown.

    python benchmarks/fold_ops.py
    python benchmarks/fold_ops.py --input_size 64 --num_bases 3 --aggregation mean

Each aggregation is converted twice; at the default size this takes about 40 s per file on two
cores. Elements are the values that an operation writes for one image; 32 values of a binary tensor
count as one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from larq_groupnet._stack import quiet  # noqa: E402

quiet()

import tensorflow as tf  # noqa: E402

import larq_groupnet  # noqa: E402
from larq_groupnet.deploy import fold  # noqa: E402
from larq_groupnet.deploy.export import to_tflite  # noqa: E402
from larq_groupnet.deploy.op_costs import OpCost, count  # noqa: E402

_SIZE = flags.DEFINE_integer("input_size", 224, "Height and width of the images.", lower_bound=32)
_BASES = flags.DEFINE_integer("num_bases", 5, "Binary branches.", lower_bound=1)
_AGGREGATION = flags.DEFINE_multi_enum(
    "aggregation", ["scales", "mean"], ["scales", "mean"], "How bases are added; repeatable."
)


def main(argv: list[str]) -> None:
    """Converts and prints one table per aggregation."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    for aggregation in _AGGREGATION.value:
        model = trained(aggregation)
        print(f"\nResNet-18, K={_BASES.value}, {_SIZE.value} x {_SIZE.value}, {aggregation}\n")
        print_table(count(to_tflite(model)), count(to_tflite(fold(model))))


def trained(aggregation: str) -> tf.keras.Model:
    """A network without equal scales or identity normalisations, which a converter would remove."""
    model = larq_groupnet.GroupNetResNet18(
        input_shape=(_SIZE.value, _SIZE.value, 3), num_bases=_BASES.value, aggregation=aggregation
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def print_table(before: dict[str, OpCost], after: dict[str, OpCost]) -> None:
    """One row per operation: count and elements, each unfolded and folded."""
    print("| operation | count | folded | elements | folded | ratio |\n|---|--:|--:|--:|--:|--:|")
    for name in sorted(before | after):
        one, folded = before.get(name, OpCost(name)), after.get(name, OpCost(name))
        ratio = f"{folded.elements / one.elements:.3f}" if one.elements else ""
        cells = [name, one.count, folded.count, f"{one.elements:,}", f"{folded.elements:,}", ratio]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    app.run(main)
