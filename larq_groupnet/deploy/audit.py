"""Finds layers that Larq Compute Engine would get wrong or run slowly, with a remedy for each.

The model shows causes, the file shows facts. Given both, a layer is reported as slow only if the
file shows that it is. The conversion rules were measured on LCE 0.16; see `docs/deploy.md`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.deploy.flatbuffer import File, Graph, Operation
from larq_groupnet.deploy.matching import (
    layers_inside,
    layers_with_kernels,
    match,
    quantizer_before,
)
from larq_groupnet.deploy.padding import shifted_paddings
from larq_groupnet.deploy.unshared import check_functional, unshared
from larq_groupnet.network.quantizers import CLASSES

_SIGNS = tuple(kind for kind, facts in CLASSES.items() if facts.signs)
_KERNEL_SIGNS = tuple(kind for kind, facts in CLASSES.items() if facts.engine)
_UNGROUP = "Use groups=1, or split the input and use one QuantConv2D per group"


@dataclass(frozen=True)
class Finding:
    """A layer that LCE would run wrongly, or not as a binary kernel.

    Attributes:
        layer: Name of the Keras layer, or the closest name in the file.
        severity: `"wrong"` if the model would not convert, or the file would not load or would
            compute something else; `"slow"` if it would compute the same with float operations;
            `"weak"` if the layer converts but learns badly (found by `advise`).
        cause: The reason.
        remedy: What to change in the model.
    """

    layer: str
    severity: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.layer} ({self.severity}): {self.cause}. {self.remedy}."


def audit(model_or_file: tf.keras.Model | File, file: File | None = None) -> list[Finding]:
    """Finds the layers that LCE would run wrongly or slowly.

    Args:
        model_or_file: A functional Larq model, or a `.tflite`. For a file alone, the names of
            layers and the causes come from the file.
        file: The model's converted file, if any. The findings are then checked against it.

    Returns:
        The findings, wrong ones first. Empty if every binary convolution is one `LceBconv2d`, with
        its activation and batch normalisation fused, and no `LceDequantize` is left.

    Raises:
        ConversionError: If the model is not functional, or the file is damaged.
        FileNotFoundError: If the file does not exist.
    """
    if isinstance(model_or_file, bytes | str | os.PathLike):
        findings = list(_audit_file(Graph(model_or_file)))
    else:
        check_functional(model_or_file, "audit")
        graph = None if file is None else Graph(file)
        findings = list(_audit_model(unshared(model_or_file), graph))
    return sorted(findings, key=lambda finding: finding.severity != "wrong")


def _audit_model(model: tf.keras.Model, graph: Graph | None) -> Iterator[Finding]:
    yield from _of_whole_model(model)
    matched = {} if graph is None else match(model, graph)
    operations = {name: candidates[0] for name, candidates in matched.items()}
    yield from _shifted(model, operations)
    named = set()
    for layer in layers_with_kernels(model):
        quantizer = quantizer_before(layer)
        if quantizer is None or _kernel_quantizer(layer) is None:
            continue
        finding = _wrong(layer) or _not_binary(layer, quantizer)
        operation = operations.get(layer.name)
        if graph is not None and (finding is None or finding.severity == "slow"):
            if operation is not None and operation.name == "LceBconv2d":
                finding = None
            else:
                finding = finding or _unexplained(layer, operation)
        if finding is not None:
            named |= {layer.name, quantizer.name}
            yield finding
        elif getattr(layer, "padding", None) == "same" and layer.pad_values == 0:
            shape = getattr(layer, "input_shape", None) or (None, None, None, None)
            yield _zero_padding(layer.name, shape, layer.kernel_size, layer.dilation_rate)
    if graph is not None:
        known = {layer.name for layer in layers_inside(model)}
        yield from (each for each in _unpacked(graph, known) if each.layer not in named)


def _of_whole_model(model: tf.keras.Model) -> Iterator[Finding]:
    shape = model.input_shape if isinstance(model.input_shape, tuple) else ()
    if None in shape[1:]:
        cause = f"dynamic size: the input has shape {shape}"
        remedy = "Convert with a fixed size: convert(model, path, input_shape=(h, w, c))"
        yield Finding(model.name, "wrong", cause, remedy)
    other = ("float16", "bfloat16", "float64")
    mixed = [layer.name for layer in layers_inside(model) if layer.compute_dtype in other]
    if mixed:
        cause = f"mixed precision: {len(mixed)} layers compute in half precision or float64"
        remedy = "Build the model under the policy 'float32' and copy the weights"
        yield Finding(mixed[0], "wrong", cause, remedy)


def _wrong(layer: Any) -> Finding | None:
    if isinstance(layer.input_quantizer, lq.quantizers.SteTern):
        cause = "quantizer LCE does not know: it treats ste_tern on activations as a sign"
        return Finding(layer.name, "wrong", cause, "Use input_quantizer='ste_sign'")
    groups = getattr(layer, "groups", 1)
    if groups > 1 and _group_width(layer) % 32 == 0:
        cause = f"grouped convolution: LCE's default kernel refuses to load groups={groups}"
        return Finding(layer.name, "wrong", cause, _UNGROUP)
    return None


def _not_binary(layer: Any, quantizer: Any) -> Finding | None:
    """The finding for a layer whose configuration shows that LCE has no binary kernel for it."""
    used = getattr(quantizer, "input_quantizer", quantizer)
    if not isinstance(layer, lq.layers.QuantConv2D):
        cause = f"{type(layer).__name__}: LCE accelerates QuantConv2D only"
        remedy = "Use QuantConv2D, or expect a float layer"
    elif layer.groups > 1:
        cause = f"group not a multiple of 32: {_group_width(layer)} channels in each"
        remedy = _UNGROUP
    elif layer.padding == "same" and max(layer.kernel_size) > 1 and layer.pad_values not in (0, 1):
        cause = f"padding with {layer.pad_values}: a binary kernel pads with +1"
        remedy = "Use pad_values=1.0"
    elif not _may_be(layer.kernel_quantizer, _KERNEL_SIGNS):
        cause = f"quantizer LCE does not know: {_name(layer.kernel_quantizer)} for the kernel"
        remedy = "Use kernel_quantizer='ste_sign'"
    elif not _may_be(used, _SIGNS):
        cause = f"quantizer LCE does not know: {_name(used)} for the input"
        remedy = "Use input_quantizer='ste_sign'"
    else:
        return None
    return Finding(layer.name, "slow", cause, remedy)


def _unexplained(layer: tf.keras.layers.Layer, operation: Operation | None) -> Finding:
    found = "is not in the file" if operation is None else f"is a {operation.name}"
    cause = f"the convolution {found}, so LCE did not recognise its input or kernel as +-1"
    remedy = "Use plain ste_sign quantizers, with nothing but +1 padding before the convolution"
    return Finding(layer.name, "slow", cause, remedy)


def _shifted(model: tf.keras.Model, operations: dict[str, Operation]) -> Iterator[Finding]:
    for layer, pad in shifted_paddings(model).items():
        operation = operations.get(layer)
        if operation is not None and not operation.same_padding:
            continue  # The converter kept the padding as a separate operation.
        if pad.of_signs:
            cause = f"sign then symmetric pad at stride {pad.stride}"
            remedy = "Pad with +1 before the quantizer, and convolve with padding='valid'"
        else:
            cause = f"float symmetric pad at stride {pad.stride}"
            remedy = f"Pad only the rows and columns that are read: {pad.exact}"
        cause += f': the converter replaces {pad.padding} with TensorFlow\'s "same", which pads '
        yield Finding(layer, "wrong", f"{cause}{pad.same}, so the result is shifted", remedy)


def _audit_file(graph: Graph) -> Iterator[Finding]:
    for operation in graph.operations:
        if operation.name != "LceBconv2d":
            continue
        name = _scope(graph.tensors[operation.outputs[0]].name)
        kernel = graph.tensors[operation.inputs[1]].shape
        options = operation.options
        if kernel[-1] * 32 < options["channels_in"]:
            read, channels = kernel[-1] * 32, options["channels_in"]
            cause = (
                f"grouped convolution: its kernel reads {read} of {channels} channels, which LCE's "
                "default kernel refuses to load"
            )
            yield Finding(name, "wrong", cause, _UNGROUP)
        elif operation.same_padding and options["pad_values"] == 0:
            dilation = options["dilation_height_factor"], options["dilation_width_factor"]
            shape = graph.tensors[operation.inputs[0]].shape
            yield _zero_padding(name, shape, kernel[1:3], dilation)
    yield from _unpacked(graph, set())


def _unpacked(graph: Graph, known: set[str]) -> Iterator[Finding]:
    """One finding per LceDequantize, named after one of the `known` layers if possible."""
    for operation in graph.operations:
        if operation.name != "LceDequantize":
            continue
        readers = graph.readers(operation.outputs[0])
        if all(reader.name in ("PAD", "PADV2") for reader in readers):
            readers += [after for pad in readers for after in graph.readers(pad.outputs[0])]
        name = graph.tensors[operation.inputs[0]].name
        yield Finding(
            next((part for part in name.split("/") if part in known), _scope(name)),
            "slow",
            "LceDequantize: its signs are unpacked to floats for "
            + ", ".join(reader.name for reader in readers),
            "Let only binary convolutions read signs: pad with +1 inside them, and pool, add or "
            "concatenate before the quantizer",
        )


def _zero_padding(
    layer: str, input_shape: Sequence[int | None], kernel: Sequence[int], dilation: Sequence[int]
) -> Finding:
    """The finding for a binary convolution with "same" padding and `pad_values=0`.

    LCE pads with +1 and corrects the result for zeros. If both sides of the padding affect one
    output, the correction is wrong: measured for sizes 1 to 9, kernels 2 to 7, dilations 1 to 6.
    """
    widths = [(taps - 1) * rate + 1 for taps, rate in zip(kernel, dilation, strict=True)]
    sizes = list(input_shape[1:3])
    if any(size is not None and size < width for size, width in zip(sizes, widths, strict=True)):
        cause = (
            f"zero padding of a map of {sizes[0]} x {sizes[1]}, which is smaller than the kernel "
            f"of {widths[0]} x {widths[1]}: LCE computes something else"
        )
        return Finding(layer, "wrong", cause, "Use pad_values=1.0, or a larger input")
    cause = "zero padding: LCE fuses nothing after it, and an int8 file does not load"
    return Finding(layer, "slow", cause, "Use pad_values=1.0, or padding='valid'")


def _kernel_quantizer(layer: Any) -> Any:
    return getattr(layer, "kernel_quantizer", None) or getattr(layer, "depthwise_quantizer", None)


def _group_width(layer: Any) -> int:
    return int(layer.kernel.shape[2])


def _may_be(quantizer: Any, signs: tuple[type, ...]) -> bool:
    """True for one of `signs`, and for a plain function: only the file shows what it does."""
    return isinstance(quantizer, signs) or not isinstance(quantizer, lq.quantizers.Quantizer)


def _name(quantizer: Any) -> str:
    return getattr(quantizer, "__name__", type(quantizer).__name__)


def _scope(name: str) -> str:
    """`model/conv/ste_sign/Sign` -> `conv`."""
    parts = name.split(";")[0].split("/")
    return parts[1] if len(parts) > 1 else parts[0]
