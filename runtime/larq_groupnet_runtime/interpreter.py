"""Runs a converted file: its inputs and outputs, prediction, and preprocessing of images."""

from __future__ import annotations

import ctypes
import dataclasses
import operator
import os
import threading
import warnings
import weakref
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn, Union

import numpy as np
from numpy.typing import NDArray

from larq_groupnet_runtime._delegate import Delegate, load_delegate
from larq_groupnet_runtime.backends import find_backend
from larq_groupnet_runtime.description import SCALES, Description, read_description, scales_of
from larq_groupnet_runtime.errors import InputError, count, one_line
from larq_groupnet_runtime.files import opened
from larq_groupnet_runtime.full_image import probabilities, tempered
from larq_groupnet_runtime.images import (
    NORMALISATIONS,
    Array,
    ImageLike,
    central_crop,
    fitted,
    normalise,
    pad,
    read_image,
    resize,
)
from larq_groupnet_runtime.tensors import TensorDetails, details, meant, stored

File = Union[str, "os.PathLike[str]", bytes, BinaryIO]

_MOST_THREADS = 64
"""Most threads of an engine."""

_MOST_SIZE = 2**31 - 1
"""Largest size of an axis in TensorFlow Lite."""


_live: weakref.WeakSet[Interpreter] = weakref.WeakSet()
"""Live interpreters, which a fork must mark as inherited."""


def _after_fork() -> None:
    for network in list(_live):
        network._inherit()


os.register_at_fork(after_in_child=_after_fork)


def _number_of_threads(given: int | None) -> int:
    if given is None:
        return min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    threads = _sizes([given])
    if not threads or threads[0] > _MOST_THREADS:
        raise InputError(
            f"num_threads: expected a whole number from 1 to {_MOST_THREADS}. Received: {given!r}"
        )
    return threads[0]


def _sizes(given: Any) -> tuple[int, ...]:
    """The sizes if all are whole numbers above 0, otherwise nothing."""
    try:
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        return ()
    return sizes if all(0 < size <= _MOST_SIZE for size in sizes) else ()


def _content(file: Any) -> tuple[str, bytes]:
    """The name and the bytes of a `.tflite`."""
    name, stream = opened(file, "a .tflite file")
    try:
        content = stream.read()
    except (ValueError, OSError) as error:  # Closed, opened as text, or damaged.
        raise InputError(f"{name}: expected a .tflite file. Received: {one_line(error)}") from error
    finally:
        if stream is not file:
            stream.close()
    if content[4:8] != b"TFL3":
        raise InputError(
            f"{name}: expected a .tflite file, whose bytes 4 to 8 are TFL3. Received: "
            f"{content[4:8]!r} there"
        )
    return name, content


class Interpreter:
    """Runs a `.tflite`, with or without binary operations of Larq Compute Engine.

    By default it uses the first of ai-edge-litert, tflite-runtime and TensorFlow that is installed.
    Threads that share an object take turns; separate objects run in parallel. After a fork, the
    child loads the file again when it first uses the object.

    Args:
        file: A path, the bytes of a file, or an open file.
        num_threads: Threads of the engine and of the interpreter, 1 to 64; by default one per CPU
            that this process may use.
        backend: The name of an interpreter, one of `backends.NAMES`.
        **options: Options of `load_delegate`.

    Attributes:
        backend: Name and version of the interpreter that runs the file.
        num_threads: Number of threads in use.
        description: The description in the file; see `larq_groupnet_runtime.description`.
        delegate: The engine that runs in the interpreter.

    Raises:
        InputError: If no interpreter is installed, the interpreter cannot run the file, or an
            option is invalid.
        OSError: If the file cannot be read.
    """

    def __init__(
        self,
        file: File,
        num_threads: int | None = None,
        backend: str | None = None,
        **options: object,
    ):
        found = find_backend(backend)
        self._name, content = _content(file)
        self.description = read_description(content)
        self.backend = f"{found.name} {found.version}"
        self.num_threads = _number_of_threads(num_threads)
        self._interpreter = found.interpreter
        self._options = options
        self._content = content  # The interpreter reads constants from it.
        self._lock = threading.RLock()
        self._forked = False
        self._said = ""
        self._loaded, self.delegate = self._load(
            f"{self._name}: expected a file that {self.backend} runs"
        )
        _live.add(self)

    def _load(self, expected: str, shapes: Sequence[Sequence[int]] = ()) -> tuple[Any, Delegate]:
        """Loads the file into a new interpreter and engine; `shapes` replace the input shapes."""
        delegate = load_delegate(num_threads=self.num_threads, **self._options)
        try:
            with warnings.catch_warnings():
                # TensorFlow warns that ai-edge-litert will replace its interpreter.
                warnings.simplefilter("ignore", UserWarning)
                interpreter = self._interpreter(
                    model_content=self._content,
                    num_threads=self.num_threads,
                    experimental_delegates=[delegate],
                )
            for one, shape in zip(interpreter.get_input_details(), shapes):
                interpreter.resize_tensor_input(one["index"], shape)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{expected}. Received: {one_line(error)}") from error
        return interpreter, delegate

    @property
    def interpreter(self) -> Any:
        """The underlying TFLite interpreter, for features that this class does not wrap.

        `resize` and a fork replace it.
        """
        with self._lock:
            if self._forked:
                before = self._loaded
                inputs = before.get_input_details()
                shapes = [one["shape"] for one in inputs]
                loaded, delegate = self._load(f"{self._name}: expected to load it again", shapes)
                for one, new in zip(inputs, loaded.get_input_details()):
                    loaded.set_tensor(new["index"], before.get_tensor(one["index"]))
                self._loaded, self.delegate, self._forked = loaded, delegate, False
            return self._loaded

    def _inherit(self) -> None:
        """Runs in the child of a fork, where the interpreter's threads and a lock's owner are gone.

        The old interpreter is never freed: its destructor would wait for these threads.
        """
        self._lock, self._forked = threading.RLock(), True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._loaded))

    def __reduce__(self) -> NoReturn:
        """Refuses copies, which would share an interpreter but no lock, and pickles."""
        raise TypeError("an Interpreter cannot be copied or pickled: make another of its file")

    @property
    def inputs(self) -> list[TensorDetails]:
        """The inputs of the file."""
        return [details(one) for one in self.interpreter.get_input_details()]

    @property
    def outputs(self) -> list[TensorDetails]:
        """The outputs of the file."""
        return [details(one) for one in self.interpreter.get_output_details()]

    @property
    def classes(self) -> tuple[str, ...]:
        """A name for each class: from the file, or else `class_0`, `class_1`, ..."""
        count = self.outputs[0].shape[-1] if self.outputs[0].shape else 1
        if len(self.description.classes) == count:
            return self.description.classes
        return tuple(f"class_{label}" for label in range(count))

    @property
    def dense(self) -> bool:
        """True if the network classifies every pixel, False if it classifies the whole image."""
        return len(self.outputs[0].shape) == 4

    def resize(self, shape: Sequence[int]) -> None:
        """Changes the shape of the input, for example to a larger batch.

        Args:
            shape: Shape of the input, including the batch.

        Raises:
            InputError: If the file cannot run with this shape. It then keeps its old shape.
        """
        before = self._only_input("resize").shape
        sizes = _sizes(shape)
        if len(sizes) != len(before):
            raise InputError(
                f"resize: expected {len(before)} whole sizes above 0, now {before}. "
                f"Received: {shape}"
            )
        if len(before) == 4 and sizes[3] != before[3]:
            raise InputError(
                f"resize: expected {count(before[3], 'channel')}, as {self._name} reads them. "
                f"Received: {sizes[3]}, in {sizes}"
            )
        expected = f"resize: expected a shape that {self._name} computes with, such as {before}"
        with self._lock:
            outputs = self.outputs
            loaded, delegate = self._load(f"{expected}, instead of {sizes}", [sizes])
            # Interpreters accept sizes that do not fit constants of the file.
            for old, found in zip(outputs, map(details, loaded.get_output_details())):
                same = 3 if len(before) == 4 and old.shape[:3] == before[:3] else 1
                if old.shape[:same] == before[:same] and found.shape[:same] != sizes[:same]:
                    raise InputError(
                        f"{expected}. Received: {sizes}, for which it gives {found.shape}"
                    )
            self._loaded, self.delegate = loaded, delegate

    def predict(self, x: NDArray[Any]) -> Any:
        """Runs the file on any number of samples.

        They run in batches of the file's batch size (see `resize`); the last batch is padded.

        Args:
            x: `(n, ...)`, preprocessed and finite. Floats are converted to the file's type, to
                integers by its scale. Integers must have the file's type.

        Returns:
            The output `(n, ...)`, converted to `float32` if its integers have a scale; a list of
            all outputs if the file has several.

        Raises:
            InputError: If the file has several inputs, or `x` does not match its input.
        """
        try:
            values = np.asarray(x)
        except ValueError as error:  # Lists of different lengths.
            raise InputError(f"predict: expected an array. Received: {one_line(error)}") from error
        with self._lock:
            return self._predict(values)

    def invoke(self) -> None:
        """Runs the file once on the current input tensors.

        Raises:
            InputError: If the file cannot run on them.
        """
        with self._lock:
            try:
                self.interpreter.invoke()
            except (ValueError, RuntimeError) as error:
                # Some interpreters repeat their earlier messages.
                said, self._said = str(error).removeprefix(self._said) or str(error), str(error)
                raise InputError(
                    f"{self._name}: expected inputs that it computes with. Received: "
                    f"{one_line(said)}"
                ) from error

    def _predict(self, x: NDArray[Any]) -> Any:
        one = self._only_input("predict")
        values = stored(x, one)
        if values.shape[1:] != one.shape[1:] or values.ndim != len(one.shape) or not len(values):
            expected = ", ".join(["n", *map(str, one.shape[1:])])
            raise InputError(
                f"predict: expected an array of shape ({expected}). Received: shape={values.shape}"
            )
        batches = []
        for start in range(0, len(values), one.shape[0]):
            batch = values[start : start + one.shape[0]]
            filler = np.repeat(batch[-1:], one.shape[0] - len(batch), axis=0)
            batches.append(self._run(np.concatenate([batch, filler]), len(batch)))
        results = [np.concatenate(parts) for parts in zip(*batches)]
        return results[0] if len(results) == 1 else results

    def preprocess(self, image: ImageLike, normalisation: str | None = None) -> Array:
        """Prepares an image for the network as evaluation did in training.

        Args:
            image: See `images.read_image`.
            normalisation: `"symmetric"` or `"imagenet"`, for a file that does not name its own.

        Returns:
            `(1, height, width, channels) float32` for `predict`: upright, cropped to the central
            part if the file says so, squeezed or letterboxed to the network's size, normalised.

        Raises:
            InputError: If the image cannot be read, or the file does not say how it is normalised.
            OSError: If the file of the image cannot be opened.
        """
        height, width, channels = self.image_shape()
        known = self._normalisation(normalisation)
        pixels = read_image(image, channels)
        if self.description.central_crop < 1:
            pixels = central_crop(pixels, self.description.central_crop)
        size = (height, width)
        extent = fitted(pixels, size) if self.description.letterbox else size
        return pad(normalise(resize(pixels, extent), known), size)[None]

    def scores(
        self,
        image: ImageLike,
        normalisation: str | None = None,
        scales: Sequence[float] | None = None,
    ) -> Array:
        """Probabilities of one image, as `larq_groupnet predict` computes them.

        Args:
            image: See `images.read_image`.
            normalisation: See `preprocess`.
            scales: For a network that classifies pixels: factors on the image's own size at which
                it is read, 0.01 to 8, instead of the file's; empty to squeeze the whole image into
                the network's input.

        Returns:
            `(classes,)`, or `(height, width, classes)` at the image's own size.

        Raises:
            InputError: As for `preprocess`, or if the output has another shape.
            OSError: If the file of the image cannot be opened.
        """
        height, width, channels = self.image_shape()
        how = self.reading(normalisation, scales)
        if not self.dense:
            found = np.asarray(self._first(self.preprocess(image, normalisation))[0], np.float32)
            return tempered(found, self.description)
        return probabilities(self._first, read_image(image, channels), (height, width), how)

    def reading(
        self, normalisation: str | None = None, scales: Sequence[float] | None = None
    ) -> Description:
        """How `scores` reads an image: the file's description with the caller's changes.

        Raises:
            InputError: If the network cannot read images this way.
        """
        height, width, _ = self.image_shape()
        if scales is not None and not self.dense:
            raise InputError(
                f"scales: expected a network that classifies pixels. Received: {self._name}, which "
                "classifies whole images"
            )
        factors = self.description.scales if scales is None else scales_of(scales)
        if factors is None:
            raise InputError(f"scales: expected {SCALES}. Received: {scales!r:.80}")
        shape = self.outputs[0].shape
        if len(shape) != 2 and shape[1:-1] != (height, width):
            raise InputError(
                f"{self._name}: expected an output of shape (batch, classes) or (batch, {height}, "
                f"{width}, classes). Received: {shape}; use predict"
            )
        known = self._normalisation(normalisation)
        return dataclasses.replace(self.description, normalisation=known, scales=factors)

    def _first(self, x: Array) -> Array:
        found = self.predict(x)
        return found[0] if isinstance(found, list) else found

    def _run(self, batch: NDArray[Any], count: int) -> list[NDArray[Any]]:
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], batch)
        self.invoke()
        return [
            meant(self.interpreter.get_tensor(one["index"])[:count], details(one))
            for one in self.interpreter.get_output_details()
        ]

    def _only_input(self, what: str) -> TensorDetails:
        inputs = self.inputs
        if len(inputs) != 1 or not inputs[0].shape:
            raise InputError(
                f"{what}: expected a file with one input that has a batch axis. Received: "
                f"{self._name} with {count(len(inputs), 'input')}, the first of shape "
                f"{inputs[0].shape if inputs else None}; use .interpreter"
            )
        return inputs[0]

    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that the network reads.

        Raises:
            InputError: If the network does not read images.
        """
        shape = self._only_input("image").shape
        if len(shape) != 4 or shape[3] not in (1, 3):
            raise InputError(
                f"{self._name}: expected an input of shape (batch, height, width, 1 or 3) for an "
                f"image. Received: {shape}; use predict"
            )
        return shape[1], shape[2], shape[3]

    def _normalisation(self, given: str | None) -> str:
        known = given or self.description.normalisation
        if known not in NORMALISATIONS:
            raise InputError(
                f"{self._name}: expected a normalisation, {' or '.join(NORMALISATIONS)}. Received: "
                f"{known}. Give it as normalisation (--normalisation)."
            )
        return known
