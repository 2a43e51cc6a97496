"""Pictures of a run: its curves and its predictions."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from PIL import Image

from larq_groupnet.files import replacing
from larq_groupnet.report.letters import cut, literal, width_of

BACKGROUND = "#20242b"
CLASS_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
    "#d55e00", "#f0e442", "#8700f0", "#5a2d00", "#ffffff",
    "#b4ffa5", "#3c2da5", "#9678ff", "#961e69", "#e1004b",
    "#3c005a", "#96c369", "#f0b4b4", "#d2c3e1", "#4b693c",
)  # fmt: skip
"""Okabe and Ito's colour-blind-safe set, white, and the colours farthest from all others.

Any two of these and `BACKGROUND` are at least 16 apart in CIELAB, for normal vision and for people
without red, green or blue cones (Machado, Oliveira and Fernandes, 2009). A test checks this.
"""

_TENTH, _FIFTH = 15, 30
"""Letters that fit into a tenth and a fifth of the width of a picture of images."""

MOST_NAMES = 60
"""Largest number of names on each side of a confusion matrix; with more classes, only every
second, third, ... class is named."""

_RIGHT, _WRONG = "#e8e8e8", "#c1121f"
_PHASE_COLOURS = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7")


def class_colours(class_names: Sequence[str]) -> list[str]:
    """One colour per class, dark for a background; repeats when `CLASS_COLOURS` runs out."""
    colours = list(islice(cycle(CLASS_COLOURS), len(class_names)))
    return [BACKGROUND, *colours[:-1]] if has_background(class_names) else colours


def has_background(class_names: Sequence[str]) -> bool:
    """True if class 0 is called `background`, or `_background_` as in labelme."""
    return class_names[0].strip("_").lower() == "background"


def capital(label: str) -> str:
    """Capitalises a label, unless it already has a capital, like mIoU."""
    return label if label != label.lower() else label[:1].upper() + label[1:]


@literal
def draw_curves(
    history: Path, path: Path, headline: str, labels: Mapping[str, str], loss_title: str
) -> None:
    """Draws loss and headline metric by epoch, for training and validation, one colour per phase.

    Args:
        history: The `history.csv` of a run.
        path: PNG to write.
        headline: Name of the metric's column.
        labels: Metric -> its name in the picture.
        loss_title: Name of the loss.
    """
    with history.open() as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("loss", headline),
        (loss_title, capital(labels.get(headline, headline))),
        strict=True,
    ):
        phases = list(dict.fromkeys(row["phase"] for row in rows))
        colours = _PHASE_COLOURS if len(phases) > 1 else _PHASE_COLOURS[1:]  # Grey looks disabled.
        for phase, colour in zip(phases, cycle(colours)):  # noqa: B905
            part = [row for row in rows if row["phase"] == phase]
            epochs = [int(row["epoch"]) + 1 for row in part]
            for prefix, style, name in (("", "--x", "training"), ("val_", "-o", "validation")):
                values = [float(row[prefix + key]) for row in part]
                axes.plot(
                    epochs, values, style, color=colour, markersize=4,
                    label=f"{phase}, {name}",
                )  # fmt: skip
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[1].set_ylim(0, 1)
    figure.axes[1].legend(frameon=False)
    save(figure, path, dpi=120)


@literal
def draw_predictions(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    class_names: Sequence[str],
    path: Path,
    title: str,
    void: int,
) -> None:
    """Draws image, truth, prediction and error of some scenes, two per row, with a legend.

    Args:
        images: `(height, width, 3) uint8`, each of its own size.
        truths: Class maps `(height, width)`.
        scores: `(height, width, classes)`; the highest gives the class of a pixel.
        class_names: One per class.
        path: PNG to write.
        title: Line above the picture.
        void: The label of pixels that do not count, hatched in the picture.
    """
    colours = class_colours(class_names)
    pairs = zip(["wrong", *class_names], [_WRONG, *colours], strict=True)
    handles = [Patch(facecolor=c, edgecolor="#666666", label=cut(n, _FIFTH)) for n, c in pairs]
    if any((truth == void).any() for truth in truths):
        handles.append(Patch(facecolor="white", edgecolor="#aaaaaa", hatch="////", label="void"))
    columns = _legend_columns([str(handle.get_label()) for handle in handles])
    rows = -(-len(images) // 2)
    figure = Figure(
        figsize=(15, 1.72 * rows + 0.8 + 0.2 * -(-len(handles) // columns)),
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02),
    )
    figure.suptitle(wrapped(title, figure))
    grid = figure.subplots(rows, 9, squeeze=False, width_ratios=[1, 1, 1, 1, 0.12, 1, 1, 1, 1])
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (image, truth, values) in enumerate(zip(images, truths, scores, strict=True)):
        predicted = values.argmax(-1)
        row, column = divmod(index, 2)
        cells = grid[row, 5 * column : 5 * column + 4]
        cells[0].imshow(image, interpolation="nearest")
        _show_classes(cells[1], truth, colours, void)
        _show_classes(cells[2], predicted, colours, void)
        wrong = (truth != predicted) & (truth != void)
        _show_classes(cells[3], wrong.astype(int), [_RIGHT, _WRONG], void)
        if row == 0:
            for axes, name in zip(cells, ("image", "truth", "prediction", "error"), strict=True):
                axes.set_title(name, fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path, dpi=100)


def _legend_columns(names: Sequence[str]) -> int:
    """How many columns of names fit below a picture of 15 inches."""
    for columns in range(min(len(names), 14), 1, -1):
        widths = [max(map(width_of, column)) for column in np.array_split(names, columns)]
        if sum(6.5 * width + 48 for width in widths) <= 15 * 72:  # In points.
            return columns
    return 1


@literal
def draw_values(values: np.ndarray) -> Image.Image:
    """Draws values `(height, width)` as colours, with a colour bar."""
    height, width = values.shape
    figure = Figure(figsize=(6, max(5 * height / width, 1.5)), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    figure.colorbar(axes.imshow(values, interpolation="nearest"), ax=axes)
    return image_of(figure)


@literal
def draw_labels(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    class_names: Sequence[str],
    path: Path,
    title: str,
) -> None:
    """Draws images, each under its predicted class and probability, in red if it is wrong.

    A row has ten images, or five if a name is long. Names that do not fit into a fifth are cut.

    Args:
        images: `(height, width, 1 or 3) uint8`.
        truths: Labels `()`.
        scores: Probabilities `(classes,)`.
        class_names: One per class.
        path: PNG to write.
        title: Line above the picture.
    """
    texts = []
    for truth, score in zip(truths, scores, strict=True):
        predicted = int(score.argmax())
        share = f"  {100 * score[predicted]:.0f} %"
        texts.append([cut(class_names[predicted], _FIFTH - len(share)) + share])
        if predicted != truth:
            texts[-1].append(f"is {cut(class_names[int(truth)], _FIFTH - 3)}")
    columns = 10 if max(map(width_of, chain.from_iterable(texts))) <= _TENTH else 5
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(12, (15 / columns) * rows + 0.6), layout="constrained")
    figure.suptitle(wrapped(title, figure))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, lines in zip(grid.flat, images, texts, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title("\n".join(lines), fontsize=10, color=_WRONG if lines[1:] else "black")
    save(figure, path, dpi=100)


def wrapped(title: str, figure: Figure) -> str:
    """A title, wrapped to lines, because the name of a dataset may be a long path."""
    return textwrap.fill(title, int(figure.get_figwidth() * 10), break_on_hyphens=False)


@literal
def draw_confusion(
    matrix: np.ndarray, class_names: Sequence[str], path: Path, title: str, unit: str
) -> None:
    """Draws a confusion matrix: rows are true classes, colours are shares of the row.

    The numbers are counts, or shares if a count is too long to read. Above 25 classes there are no
    numbers.

    Args:
        matrix: `(classes, classes)` counts, rows are true classes.
        class_names: One per class.
        path: PNG to write.
        title: Line above the picture.
        unit: What is counted, in the plural.
    """
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    count = len(class_names)
    side = min(max(0.55 * count + 2.5, 4.5), 16)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = max(min(10, 300 / count), 300 / MOST_NAMES)
    counted = count <= 25 and matrix.max() < 10_000
    kind = f"number of {unit}; colours" if counted else unit
    kind += ": shares of each row"
    named = range(0, count, -(-count // MOST_NAMES))
    names = [class_names[label] for label in named]
    axes.set_xticks(named, names, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(named, names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    figure.suptitle(f"{wrapped(title, figure)}\n{kind}")
    for row, column in np.ndindex(matrix.shape) if count <= 25 else ():
        share, number = shares[row, column], matrix[row, column]
        text = f"{number}" if counted or not number else f"{100 * share:.1f} %"
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    save(figure, path, dpi=110)


def _show_classes(axes: Axes, classes: np.ndarray, colours: Sequence[str], void: int) -> None:
    if (classes == void).any():
        cells = np.indices(classes.shape).sum(0) // max(min(classes.shape) // 32, 1) % 2
        axes.imshow(cells, cmap="gray", vmin=-4, vmax=1, interpolation="nearest")
    axes.imshow(
        np.ma.masked_equal(classes, void),
        cmap=ListedColormap(list(colours)),
        norm=BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours)),
        interpolation="nearest",
        # Colours are looked up before scaling, so that edges stay between two classes.
        interpolation_stage="rgba",
    )


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Writes a figure as PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def image_of(figure: Figure) -> Image.Image:
    """A figure as an RGB image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
