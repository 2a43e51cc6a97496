"""Measures how Adam's epsilon affects accuracy and the movement of each stage's binary kernels.

    python benchmarks/adam_epsilon.py --data_dir DATA

Trains small binary networks on `digit_scenes` and `cifar10` for a few hundred steps, from the same
random weights and on the same batches for every epsilon, and prints a table. Epsilon is a variable,
so each network is built and traced once.

A kernel's movement is the mean distance from start to end, divided by the mean magnitude at the
start; flips are the share of its signs that changed. RMS is the root mean square of the gradient at
the end of training, from Adam's second moments.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from larq_groupnet.recipes.overrides import override, split_option  # noqa: E402
from larq_groupnet.training import Recipe, load_recipe  # noqa: E402

BUDGETS = {
    "digit_scenes": (
        "groupnet_dsp",
        "num_bases=2 stage_blocks=(1,1,1,1) input_shape=(48,48,3) batch_size=8",
    ),
    "cifar10": (
        "groupnet_resnet18",
        "dataset=cifar10 num_bases=2 width=0.25 stage_blocks=(1,1,1,1) input_shape=(32,32,3) "
        "batch_size=32 augmentation=cifar",
    ),
}
"""Dataset -> model, and changes to its first recipe."""

EPSILONS = (1e-7, 1e-8, 1e-10)
STAGES = ("stage1", "stage2", "stage3", "stage4")

_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the datasets.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs per row.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 250, "Steps per run.", lower_bound=1)
_RATE = flags.DEFINE_float("learning_rate", 3e-3, "Initial rate of a cosine schedule to 0.")

Kernels = dict[str, np.ndarray]


def main(argv: list[str]) -> None:
    """Prints each row as soon as its runs are done."""
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    print("| dataset | epsilon | test metric | loss | moved by, stages 1 to 4 | flipped | RMS |")
    print("|---|---|--:|--:|---|---|---|", flush=True)
    for dataset, (model, options) in BUDGETS.items():
        recipe = override(load_recipe(model, ROOT / "zoo"), map(split_option, options.split()))
        for epsilon, runs in measured(recipe).items():
            print(f"| `{dataset}` | {epsilon:g} | {' | '.join(cells(runs))} |", flush=True)


def measured(recipe: Recipe) -> dict[float, list[dict[str, Any]]]:
    """Epsilon -> the results of each seed."""
    import tensorflow as tf

    from larq_groupnet.data.pipeline import prepare
    from larq_groupnet.network.build import build
    from larq_groupnet.runs.saved import pipeline_of
    from larq_groupnet.tasks.task import task_of

    tf.keras.utils.set_random_seed(0)
    data = pipeline_of(recipe, prepare(recipe.dataset, Path(_DATA_DIR.value)))
    test = data.eval_batches("test").take(1000 // recipe.batch_size).cache()
    model, task = build(recipe.model), task_of(recipe.model)
    falling = tf.keras.optimizers.schedules.CosineDecay(_RATE.value, _STEPS.value)
    optimizer = tf.keras.optimizers.Adam(falling, jit_compile=False)
    optimizer.build(model.trainable_variables)
    optimizer.epsilon = tf.Variable(1e-7, trainable=False)
    model.compile(optimizer, task.loss(), task.metrics())
    initial = [weight.numpy() for weight in model.weights]
    found = defaultdict(list)
    for seed in range(_SEEDS.value):
        rng = np.random.RandomState(seed)
        # Permuting the initial kernels gives each seed its own random kernels.
        start = [rng.permutation(w.ravel()).reshape(w.shape) if w.ndim == 4 else w for w in initial]
        data.seed = seed
        batches = data.train_batches(_STEPS.value).take(_STEPS.value).cache()
        for epsilon in EPSILONS:
            model.set_weights(start)
            for variable in optimizer.variables:
                if variable is not optimizer.learning_rate:
                    variable.assign(tf.zeros_like(variable))
            optimizer.epsilon.assign(epsilon)
            before = kernels(model)
            tf.keras.utils.set_random_seed(seed)
            model.fit(batches, verbose=0)
            loss, metric, *_ = model.evaluate(test, verbose=0)  # The rest is top 5.
            about = movement(before, kernels(model)) | gradients(model, optimizer)
            found[epsilon].append({"metric": metric, "loss": loss, **about})
            print(recipe.dataset, epsilon, seed, found[epsilon][-1], file=sys.stderr, flush=True)
    return found


def is_binary(layer: Any) -> bool:
    """True for the binary 3x3 convolutions."""
    return bool(getattr(layer, "kernel_quantizer", None)) and layer.kernel_size == (3, 3)


def kernels(model: Any) -> Kernels:
    """Layer -> latent kernel."""
    return {layer.name: layer.kernel.numpy() for layer in filter(is_binary, model.layers)}


def movement(before: Kernels, after: Kernels) -> dict[str, float]:
    """Movement of kernels and share of flipped signs, by stage."""
    found = {}
    for stage in STAGES:
        pairs = [(a, after[name]) for name, a in before.items() if name.startswith(stage)]
        moved = [np.abs(b - a).mean() / np.abs(a).mean() for a, b in pairs]
        flipped = [np.mean((a >= 0) != (b >= 0)) for a, b in pairs]
        found |= {f"moved {stage}": np.mean(moved), f"flipped {stage}": np.mean(flipped)}
    return found


def gradients(model: Any, optimizer: Any) -> dict[str, float]:
    """Root mean square of the gradients of latent kernels, by stage."""
    squares = defaultdict(list)
    correction = 1 - 0.999**_STEPS.value
    for layer in filter(is_binary, model.layers):
        place = optimizer._index_dict[optimizer._var_key(layer.kernel)]
        squares[layer.name[:6]].append(optimizer._velocities[place].numpy().mean() / correction)
    return {f"RMS {stage}": float(np.sqrt(np.mean(squares[stage]))) for stage in STAGES}


def cells(runs: list[dict[str, Any]]) -> list[str]:
    """Means over the seeds, and the standard deviation of the metric."""
    metric = np.array([run["metric"] for run in runs])
    found = [f"{metric.mean():.3f} ± {metric.std(ddof=1):.3f}"]
    found.append(f"{np.mean([run['loss'] for run in runs]):.3f}")
    for what, form in (("moved", ".3f"), ("flipped", ".3f"), ("RMS", ".0e")):
        values = [np.mean([run[f"{what} {stage}"] for run in runs]) for stage in STAGES]
        found.append(", ".join(f"{value:{form}}" for value in values))
    return found


if __name__ == "__main__":
    app.run(main)
