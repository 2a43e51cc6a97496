"""Tells the user what a run will do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from terminaltables import AsciiTable

from larq_groupnet.data.base import ROLES, Dataset
from larq_groupnet.data.frequencies import class_counts
from larq_groupnet.hints import counted, few
from larq_groupnet.network.complexity import complexity
from larq_groupnet.recipes.recipe import Recipe

FEW_TESTS = 30
"""Number of test images below which a metric means little."""

FEW_IMAGES = 10
"""Number of images, in all splits, below which a class may be a mistake."""

MOST_COUNTED = 20_000
"""Up to this many labels, or a tenth as many masks, are counted; above, only totals are shown."""

MOST_CLASSES = 20
"""Largest number of classes to list, one per row."""


def announce(recipe: Recipe, dataset: Dataset, output_dir: Path) -> list[str]:
    """Lines about splits with counts per class, size, cost, steps, and the files to be written.

    Args:
        recipe: The recipe to train.
        dataset: Its prepared dataset.
        output_dir: Folder of the run.
    """
    return [
        *_data(dataset),
        _network(recipe),
        training_line(recipe, dataset.sizes["train"]),
        f"Writes: {output_dir} takes snapshots, weights of each phase, model.tflite, results.json "
        "and pictures.",
    ]


def _data(dataset: Dataset) -> list[str]:
    sizes = {role: dataset.sizes[role] for role in ROLES if dataset.sizes.get(role)}
    lines = [f"Data: {dataset.name}, {', '.join(f'{n:,} {role}' for role, n in sizes.items())}."]
    if "test" not in sizes:
        lines.append("There are no test images with labels: validation images are judged instead.")
    judged = "test" if "test" in sizes else "validation"
    tests = sizes[judged]
    if tests < FEW_TESTS:
        means = f"one more right or wrong moves the metric by {1 / tests:.1%}"
        if dataset.target != "label":
            means = "a metric of so few is a rough guess"
        lines.append(
            f"Warning: {counted(tests, f'{judged} image')}; {means}. Use {FEW_TESTS} or more for a "
            "useful metric."
        )
    masks = dataset.target != "label"
    most = MOST_COUNTED // 10 if masks else MOST_COUNTED
    if dataset.target not in ("label", "mask") or sum(sizes.values()) > most:
        return lines
    images = {role: class_counts(dataset, role).images for role in sizes}
    for role, counts in images.items():
        if missing := [dataset.classes[label] for label in np.flatnonzero(counts == 0)]:
            lines.append(f"Warning: {role} has no image of {few(missing)}.")
    if not masks:
        lines += _rare(dataset, np.sum([*images.values()], axis=0))
    if len(dataset.classes) <= MOST_CLASSES:
        rows = zip(dataset.classes, *(counts.tolist() for counts in images.values()), strict=True)
        title = "masks that hold" if masks else "images of"
        lines.append(str(AsciiTable([[title, *images], *map(list, rows)]).table))
    return lines


def _rare(dataset: Dataset, counts: np.ndarray) -> list[str]:
    """A warning of classes with few images, such as a folder that was not meant as a class."""
    rare = [
        f"{dataset.classes[label]} has {counted(int(counts[label]), 'image')}"
        for label in np.flatnonzero((counts > 0) & (counts < FEW_IMAGES))
    ]
    if not rare:
        return []
    folder = dataset.name.startswith("folder:")
    advice = "; move the folder out if it is not a class" if folder else ""
    return [f"Warning: {few(rare)}{advice}."]


def _network(recipe: Recipe) -> str:
    config, total = recipe.model, complexity(recipe.model).total
    height, width, channels = config.input_shape
    each = config.bases_per_stage
    bases = "-".join(map(str, each if len({*each}) > 1 else each[:1]))
    macs = ", ".join(f"{n / 1e6:,.1f} M {bits}-bit MACs" for bits, n in sorted(total.macs.items()))
    return (
        f"Network: {recipe.name}, K={bases}, width {config.width:g}, reads {height} x {width} x "
        f"{channels}; {macs}, {total.total_memory / 1e6:.2f} MB of parameters."
    )


def training_line(recipe: Recipe, images: int = 0) -> str:
    """A line about phases, steps or epochs, and batches.

    Args:
        recipe: The recipe to train.
        images: Number of training images; 0 if not known.
    """
    phases = recipe.trained
    epochs, batch = sum(phase.epochs for phase in phases), recipe.batch_size
    each_batch = counted(batch, "image")
    steps = recipe.steps_per_epoch or (images and max(images // batch, 1))
    if not steps:
        each = ", ".join(f"{phase.name} {phase.epochs}" for phase in phases)
        return f"Training: {counted(epochs, 'epoch')} ({each}) in batches of {each_batch}."
    each = ", ".join(f"{phase.name} {phase.epochs * steps:,}" for phase in phases)
    passes = f", {epochs * steps * batch / images:,.1f} passes" if images else ""
    return (
        f"Training: {counted(epochs * steps, 'step')} ({each}) of {each_batch}{passes}; "
        f"validated every {counted(steps, 'step')}."
    )
