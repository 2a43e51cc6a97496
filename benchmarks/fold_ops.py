"""What `fold` saves: operations of the converted ResNet-18, unfolded and folded, as Markdown.

    python benchmarks/fold_ops.py
    python benchmarks/fold_ops.py --input_size 64 --num_bases 3 --aggregation mean

Each aggregation is converted twice; at the default size that takes about 40 s a file on two cores.
Elements are those of what an operation writes for one image; 32 of a binary tensor are one.
"""

from __future__ import annotations

import sys
from collections import Counter
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
from larq_groupnet.deploy.flatbuffer import Graph  # noqa: E402

_SIZE = flags.DEFINE_integer("input_size", 224, "Height and width of the images.", lower_bound=32)
_BASES = flags.DEFINE_integer("num_bases", 5, "Binary branches.", lower_bound=1)
_AGGREGATION = flags.DEFINE_multi_enum(
    "aggregation", ["scales", "mean"], ["scales", "mean"], "How the bases are added; repeatable."
)


def main(argv: list[str]) -> None:
    """Converts and prints one table per aggregation."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    for aggregation in _AGGREGATION.value:
        model = trained(aggregation)
        print(f"\nResNet-18, K={_BASES.value}, {_SIZE.value} x {_SIZE.value}, {aggregation}\n")
        print_table(operations(model), operations(fold(model)))


def trained(aggregation: str) -> tf.keras.Model:
    """A network in which no two scales are equal and no normalisation is an identity."""
    model = larq_groupnet.GroupNetResNet18(
        input_shape=(_SIZE.value, _SIZE.value, 3),
        num_bases=_BASES.value,
        aggregation=aggregation,
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def operations(model: tf.keras.Model) -> dict[str, tuple[int, int]]:
    """Operation of the converted model -> (how often it occurs, elements that it writes)."""
    graph = Graph(to_tflite(model))
    counts: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for operation in graph.operations:
        counts[operation.name] += 1
        shapes = [graph.tensors[output].shape for output in operation.outputs]
        elements[operation.name] += sum(int(np.prod(shape)) for shape in shapes)
    return {name: (counts[name], elements[name]) for name in counts}


def print_table(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> None:
    """One row per operation: count and elements, each unfolded and folded."""
    print("| operation | count | folded | elements | folded | ratio |\n|---|--:|--:|--:|--:|--:|")
    for name in sorted(before | after):
        count, elements = before.get(name, (0, 0))
        folded_count, folded_elements = after.get(name, (0, 0))
        ratio = f"{folded_elements / elements:.3f}" if elements else ""
        print(
            f"| {name} | {count} | {folded_count} | {elements:,} | {folded_elements:,} | {ratio} |"
        )


if __name__ == "__main__":
    app.run(main)
