"""Loads a trained network from a run, a weights file, a registered name or a .tflite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet.data.reading import Reading, normalisations
from larq_groupnet.deploy.description import read_description
from larq_groupnet.deploy.flatbuffer import ends_in_softmax
from larq_groupnet.deploy.runtime import load_file
from larq_groupnet.errors import ConversionError, UserError
from larq_groupnet.files import path_of
from larq_groupnet.hints import did_you_mean
from larq_groupnet.inference.full_image import FullImage
from larq_groupnet.inference.network import Array, Predict, predicting
from larq_groupnet.runs.saved import describe
from larq_groupnet.runs.source import EXPECTED, find_source
from larq_groupnet.tasks.calibration import probabilities
from larq_groupnet.tasks.task import Task, task


class SourceError(UserError):
    """A network cannot be loaded from its source, or cannot read an image."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network and its preprocessing.

    Attributes:
        network: Maps preprocessed images to scores `(batch, classes)`, or
            `(batch, height, width, classes)`.
        input_shape: `(height, width, channels)` of its input.
        classes: Class names in label order.
        dense: True if it classifies pixels.
        reading: How an image becomes its input.
        logits: True if its scores are logits, not probabilities.
        task: The class of its task.
        named: True if its class names are stored with it.
        temperature: Divisor of a classifier's logits.
    """

    network: Predict
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    dense: bool
    reading: Reading
    logits: bool
    task: type[Task]
    named: bool = True
    temperature: float = 1.0

    @property
    def view(self) -> FullImage | None:
        """How it predicts a whole image, if it classifies pixels."""
        return FullImage(self.reading, self.logits) if self.dense else None

    def __call__(self, pixels: np.ndarray) -> Array:
        """Probabilities of one image.

        Args:
            pixels: `(height, width, channels)` of any size, integers or floats of 0 to 255, as
                `read_pixels` returns them.

        Returns:
            `(height, width, classes) float32` of the image's own size, or `(classes,) float32`.

        Raises:
            SourceError: If the pixels have another shape or range, or are floats of at most 1.
        """
        pixels = _pixels(pixels, self.input_shape[2])
        if (view := self.view) is not None:
            return view.scores(self.network, [pixels])[0]
        scores = self.network(self.reading(pixels).numpy()[None])[0]
        return probabilities(scores, self.temperature, self.logits)


def _pixels(image: Any, channels: int) -> np.ndarray:
    """An image as an array, if its pixels are valid."""
    expected = f"image: expected pixels (height, width, {channels}) of 0 to 255, as read_pixels"
    expected += " gives them. Received:"
    try:
        pixels = np.asarray(image)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{expected} {type(image).__name__}: {error}") from error
    fits = pixels.ndim == 3 and pixels.shape[2] == channels and pixels.size
    if not fits or pixels.dtype.kind not in "uif":
        raise SourceError(f"{expected} {pixels.dtype} of shape {pixels.shape}")
    lowest, highest = pixels.min(), pixels.max()
    if not 0 <= lowest <= highest <= 255:  # False for NaN.
        raise SourceError(f"{expected} {pixels.dtype} from {lowest:g} to {highest:g}")
    if pixels.dtype.kind == "f" and 0 < highest <= 1:
        raise SourceError(f"{expected} floats of at most {highest:g}; multiply them by 255")
    return pixels


def load_predictor(
    source: str | Path, data_dir: str | Path = "data", threads: int = 1, **preprocessing: Any
) -> Predictor:
    """Loads a network by path or name.

    Args:
        source: Folder of a run or a weights file in it, a release file (`.safetensors`), the name
            of registered weights (`NAME`, or `MODEL:NAME` if several models have the name), or a
            converted file (`.tflite`).
        data_dir: Folder with the dataset of an unfinished run.
        threads: Threads for a converted file.
        **preprocessing: `normalisation`, `central_crop`, `scales` or `flip`, to replace the values
            stored with the weights; `None` keeps a stored value.

    Raises:
        FileNotFoundError: If `source` is a path that does not exist.
        SourceError: If the preprocessing is unknown, or the network predicts neither labels nor
            class maps.
        DatasetError: If the preprocessing is invalid.
        ValueError: If `source` is not a run, weights file, or registered name.
    """
    settings = ("normalisation", "central_crop", "scales", "flip")
    for name in set(preprocessing) - {*settings}:
        raise SourceError(
            f"load_predictor: expected arguments among {', '.join(settings)}. Received: {name}."
            f"{did_you_mean(name, settings)}"
        )
    path = path_of(source, f"load_predictor: {EXPECTED}, or a converted file")
    if path.suffix == ".tflite":
        network, input_shape, output_shape, description = _of_file(path, threads)
    else:
        found = find_source(source)
        model, description = found.load(), describe(found, data_dir)
        network, input_shape = predicting(model), model.input_shape[1:]
        output_shape = model.output_shape
    asked = {name: value for name, value in preprocessing.items() if value is not None}
    known = {**description.get("preprocessing", {}), **asked}
    normalisation, fit = known.get("normalisation"), normalisations(input_shape[-1])
    if normalisation not in fit:
        raise SourceError(
            f"{source}: expected a normalisation, {' or '.join(fit)}. Received: {normalisation}."
            f"{did_you_mean(normalisation, fit)} Give it as normalisation (--normalisation), or "
            "give convert(model, path) a description."
        )
    dense = len(output_shape) == 4
    if None in input_shape or not (
        len(output_shape) == 2 or (dense and output_shape[1:3] == input_shape[:2])
    ):
        raise SourceError(
            f"{source}: expected a network of a fixed input size that predicts labels, or a class "
            f"map of that size. Received: input_shape={input_shape}, output_shape={output_shape}"
        )
    for name in ("scales", "flip"):
        if asked.get(name) and not dense:
            raise SourceError(
                f"{name}: expected a network that classifies pixels. Received: {source}, which "
                "classifies whole images"
            )
    names = tuple(description.get("classes", ()))
    if len(names) not in (0, output_shape[-1]):
        raise SourceError(
            f"{source}: expected {output_shape[-1]} class names, one per output, or none. "
            f"Received: {len(names)}"
        )
    fields = {"scales": (1.0,), **known, "size": tuple(input_shape[:2])}
    return Predictor(
        network,
        (input_shape[0], input_shape[1], input_shape[2]),
        names or tuple(f"class_{label}" for label in range(output_shape[-1])),
        dense,
        Reading.from_dict(fields),
        # Files of earlier versions do not state it, because there was no choice.
        logits=description.get("output", "logits" if dense else "probabilities") == "logits",
        task=_task(description, dense),
        named=bool(names),
        temperature=description.get("temperature", 1.0),
    )


def _task(description: Mapping[str, Any], dense: bool) -> type[Task]:
    """The task of a network; `Task`, which gives plain values, if this process does not know it."""
    name = description.get("task", "segmentation" if dense else "classification")
    return task.get(name, Task) if isinstance(name, str) else Task


def _of_file(
    path: Path, threads: int
) -> tuple[Predict, tuple[int, ...], tuple[int, ...], Mapping[str, Any]]:
    description = read_description(path)
    if description is None:
        description = {"output": "probabilities" if ends_in_softmax(path) else "logits"}
    runner = load_file(path, threads)
    shapes = runner.input_shapes
    if len(shapes) != 1 or shapes[0][0] != 1:
        raise ConversionError(
            f"{path}: expected a file that reads one image at a time. Received: inputs {shapes}"
        )
    return runner.predict, shapes[0][1:], runner.output_shape, description
