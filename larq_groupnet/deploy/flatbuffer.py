"""Reads `.tflite` files, and runs them with Larq Compute Engine's interpreter."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tqdm import tqdm

from larq_groupnet.deploy.engine import EngineInterpreter
from larq_groupnet.errors import ConversionError, MissingFileError, UserError
from larq_groupnet.files import path_of

File = bytes | str | os.PathLike[str]

WITH_KERNELS = ("LceBconv2d", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operations whose second input is a kernel."""

_BUILTIN = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_DTYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        name: Name given by the converter.
        shape: Size of each axis.
        data: Constant value, if float32 or int32; `None` for other constants and computed tensors.
        computes_floats: True for a computed float32 tensor.
        scale: Value of one level of an integer tensor with one range; `None` for other tensors.
        zero_point: The integer that represents 0.
    """

    name: str
    shape: tuple[int, ...]
    data: NDArray[Any] | None
    computes_floats: bool
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class Operation:
    """An operation of a file.

    Attributes:
        name: `CONV_2D`, `LceBconv2d`, ...
        inputs: Indices of tensors, -1 for an omitted one.
        outputs: Indices of tensors.
        same_padding: True if the operation itself pads.
        options: Options of an LCE operation, such as `pad_values` and `channels_in`.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    same_padding: bool
    options: Mapping[str, Any]


class Graph:
    """The tensors and operations of a `.tflite`, in order of execution."""

    def __init__(self, file: File):
        content = read(file)
        with damage_named(file):
            self._content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
            graph = self._content.subgraphs[0]
            self.tensors = [self._tensor(tensor) for tensor in graph.tensors]
            self.operations = [self._operation(operation) for operation in graph.operators]
            self.inputs = [int(tensor) for tensor in graph.inputs]
            self.outputs = [int(tensor) for tensor in graph.outputs]
        self._producers = {t: op for op in self.operations for t in op.outputs}

    def producer(self, tensor: int) -> Operation | None:
        """The operation that computes a tensor; `None` for inputs and constants."""
        return self._producers.get(tensor)

    def readers(self, tensor: int) -> list[Operation]:
        """The operations that read a tensor."""
        return [op for op in self.operations if tensor in op.inputs]

    def with_outputs(self, tensors: Sequence[int]) -> bytes:
        """The same file with other outputs, to read tensors inside it."""
        graph = self._content.subgraphs[0]
        before = graph.outputs
        graph.outputs = list(tensors)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._content.Pack(builder), b"TFL3")
        graph.outputs = before
        return bytes(builder.Output())

    def _tensor(self, tensor: Any) -> Tensor:
        shape = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
        raw = self._content.buffers[tensor.buffer].data
        data = None
        if raw is not None and tensor.type in _DTYPES:
            data = np.frombuffer(np.asarray(raw, np.uint8).tobytes(), _DTYPES[tensor.type])
            data = data.reshape(shape)
        scale, zero_point, ranges = None, 0, tensor.quantization
        if ranges is not None and ranges.scale is not None and len(ranges.scale) == 1:
            scale, zero_point = float(ranges.scale[0]), int(ranges.zeroPoint[0])
        floats = tensor.type == schema.TensorType.FLOAT32 and data is None
        return Tensor(tensor.name.decode(), shape, data, floats, scale, zero_point)

    def _operation(self, operation: Any) -> Operation:
        code = self._content.operatorCodes[operation.opcodeIndex]
        raw = operation.customOptions
        options = {}
        if code.customCode and raw is not None and len(raw):
            options = flexbuffers.Loads(np.asarray(raw, np.uint8).tobytes())
        padding = options.get("padding", getattr(operation.builtinOptions, "padding", None))
        return Operation(
            code.customCode.decode() if code.customCode else _BUILTIN[code.builtinCode],
            tuple(int(i) for i in operation.inputs),
            tuple(int(i) for i in operation.outputs),
            padding == schema.Padding.SAME,
            options,
        )


def read(file: File) -> bytes:
    """The content of a `.tflite`.

    Raises:
        MissingFileError: If the file does not exist.
        ConversionError: If it is not a TFLite file.
        OSError: If it cannot be read.
    """
    if isinstance(file, bytes):
        content = file
    else:
        path = path_of(file, "file: expected the path of a .tflite, or its bytes")
        if not path.is_file():
            received = "a folder" if path.is_dir() else "no such file"
            raise MissingFileError(
                f"{file}: expected a converted file (.tflite). Received: {received}. Check the "
                "path, or make one: larq-groupnet convert RUN"
            )
        content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ConversionError(
            "expected a .tflite file, whose bytes 4 to 8 are TFL3. Received: "
            f"{name_of(file)}, with {content[4:8]!r} there."
        )
    return content


@contextlib.contextmanager
def damage_named(file: File) -> Iterator[None]:
    """Turns errors of a damaged file into a `ConversionError`: the schema does not check files."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        raise ConversionError(
            f"expected a whole .tflite file. Received: {name_of(file)}, which is damaged "
            f"({type(error).__name__}: {error}). Convert the network again."
        ) from error


def name_of(file: File) -> str:
    """How messages refer to a file."""
    return "these bytes" if isinstance(file, bytes) else str(file)


def ends_in_softmax(file: File) -> bool:
    """True if the first output of a `.tflite` is probabilities, rounded or not."""
    graph = Graph(file)
    last = graph.producer(graph.outputs[0])
    while last is not None and last.name in ("QUANTIZE", "DEQUANTIZE", "RESHAPE"):
        last = graph.producer(last.inputs[0])
    return last is not None and last.name in ("SOFTMAX", "LOGISTIC")


def count_ops(file: File) -> Counter[str]:
    """How often each operation (`CONV_2D`, `LceBconv2d`, ...) occurs in a `.tflite`."""
    return Counter(operation.name for operation in Graph(file).operations)


class Interpreter(EngineInterpreter):
    """LCE's interpreter for a `.tflite`; `predict(images)` maps `(batch, h, w, c)` to outputs.

    `predict` runs images in batches of the file's size, which is one by default. Floats of any
    precision are converted to float32. Bytes are not, because the file needs normalised images.
    """

    def predict(self, x: Any, verbose: int = 0) -> Any:
        """Computes the outputs of images, batch by batch; `verbose=1` shows a progress bar.

        Raises:
            ConversionError: If the images do not have the size or type that the file reads, or do
                not fill its batches.
        """
        wanted = np.dtype(self.input_types[0])
        images = x if hasattr(x, "dtype") else np.asarray(x)
        if images.dtype != wanted:
            if not (wanted == np.float32 and np.issubdtype(images.dtype, np.floating)):
                raise ConversionError(
                    f"predict: expected images of type {wanted}, as the file reads them. Received: "
                    f"{images.dtype}. Convert them with .astype({str(wanted)!r})"
                    + (" after the normalisation." if wanted == np.float32 else ".")
                )
            images = images.astype(wanted)
        size, *shape = self.input_shapes[0]
        if images.shape[1:] != tuple(shape) or not len(images) or len(images) % size:
            many = "one or more images" if size == 1 else f"a multiple of {size} images"
            raise ConversionError(
                f"predict: expected {many} of shape {tuple(shape)}. Received: {images.shape}"
            )
        batches = np.split(images, len(images) // size)
        found = [self.interpreter.predict([batch]) for batch in tqdm(batches, disable=not verbose)]
        outputs = [np.concatenate(output) for output in zip(*found, strict=True)]
        return outputs[0] if len(outputs) == 1 else outputs


def load_interpreter(file: File) -> Interpreter:
    """Loads a `.tflite` into LCE's interpreter, with as many threads as there are cores.

    Raises:
        ConversionError: If the file is damaged. LCE's interpreter does not check: one in three
            files with a few changed bytes crashed the process.
    """
    content = read(file)
    with damage_named(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # About the removal of tf.lite.
        tf.lite.Interpreter(model_content=content)  # Its constructor runs the schema's verifier.
    return Interpreter(content, num_threads=os.cpu_count() or 1)


class Runner:
    """Runs a `.tflite` in LCE's interpreter, on batches of the file's size.

    Attributes:
        shape: Shape of the input, including the batch.
        dtype: Type of the input: float32, or uint8 if the model reads it.

    Raises:
        ConversionError: If LCE cannot load the file, or if the file does not read exactly one
            tensor of float32 or uint8.
    """

    def __init__(self, file: File):
        try:
            self._interpreter = load_interpreter(file).interpreter
        except RuntimeError as error:
            names = {operation.name for operation in Graph(file).operations}
            # TensorFlow Lite's own operations are in capitals.
            foreign = [x for x in sorted(names) if not (x.isupper() or x.startswith("Lce"))]
            what = f"{', '.join(foreign)}, which only TensorFlow has" if foreign else str(error)
            advice = "Build the model without them" if foreign else "audit(file) may name the cause"
            raise ConversionError(
                "LCE's interpreter does not load the file: expected operations that its default "
                f"kernels run. Received: {what}. {advice}."
            ) from error
        shapes = self._interpreter.input_shapes
        if len(shapes) != 1:
            raise ConversionError(f"expected a file with one input. Received: {len(shapes)}")
        kind = np.dtype(self._interpreter.input_types[0])
        if kind not in (np.float32, np.uint8):
            raise ConversionError(
                "expected a file that reads float32, or uint8 from a camera. "
                f"Received: {kind}. An int8 file is "
                "compared with its network when it is converted, and predict runs it"
            )
        self.shape = tuple(shapes[0])
        self.dtype = kind

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Every output for one batch of shape `shape`."""
        outputs: list[NDArray[Any]] = self._interpreter.predict([batch])
        return outputs


def unpack(bits: NDArray[np.int32], channels: int) -> NDArray[np.float32]:
    """Unpacks LCE's signs to +-1: `(..., words) int32` -> `(..., channels) float32`.

    The lowest bit of a word is its first channel; a set bit is -1.
    """
    octets = np.ascontiguousarray(bits).view(np.uint8)
    signs = np.unpackbits(octets, axis=-1, bitorder="little")[..., :channels]
    return 1 - 2 * signs.astype(np.float32)
