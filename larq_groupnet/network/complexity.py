"""The cost of a Group-Net: parameters, memory, MACs, element-wise work, receptive field.

Counted: kernels, biases, scales, gates, and two values per channel of a batch normalisation (of its
four, inference keeps a scale and an offset; `lq.models.summary` counts the same); MACs of every
convolution and of the dense layer; element-wise multiplications and additions of gates, aggregates
and shortcuts, as in the Keras graph (conversion may fold some). Not counted: the work of batch
normalisation, biases, ReLU, quantizers, padding, pooling, upsampling and softmax.

A configuration is counted without TensorFlow, in a millisecond. A model is counted layer by layer
with Larq's own profile, so the two ways check each other. A layer that is called several times
(`shared_shortcut`) counts its parameters once and its MACs each time; Larq's summary counts both
once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from larq_groupnet.network import names
from larq_groupnet.network.build import network
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.count_ops import CountOps, Map, Tally
from larq_groupnet.network.counts import BINARY_SPEEDUP, Complexity, Counts

__all__ = ["Complexity", "Counts", "complexity", "format_json", "report"]


def complexity(target: Any) -> Complexity:
    """Counts what a network costs for one image.

    Args:
        target: A `GroupNetConfig`, or a `tf.keras.Model` that `larq_groupnet` has built. A
            configuration needs no TensorFlow, unless a quantizer is given as a mapping.

    Returns:
        The cost per stage and in total. Parameters, memory and MACs agree exactly with
        `lq.models.ModelProfile`, which counts memory in bits.

    Raises:
        TypeError: If `target` is neither.
        ValueError: If height or width is `None`.
    """
    from_config = isinstance(target, GroupNetConfig)
    layers = {layer.name for layer in getattr(target, "layers", ())}
    if not from_config and not {names.STEM_CONV, names.STEM_NORM} <= layers:
        raise TypeError(
            "complexity: expected a GroupNetConfig or a Keras model built by larq_groupnet. "
            f"Received: target={target!r}"
        )
    shape = target.input_shape[-3:]
    if None in shape:
        raise ValueError(
            "complexity: expected a fixed height and width, because MACs depend on them: set "
            f"input_shape to the size of your images. Received: input_shape={shape}"
        )
    tallies = _of_config(target) if from_config else _of_model(target)
    stages = sorted(part for part in tallies if part not in ("stem", "head"))
    parts = ("stem", *stages, "head")
    return Complexity({p: tallies.get(p, Tally()).counts(p != "head") for p in parts})


def report(target: Any) -> str:
    """The table of `complexity(target)` and a legend."""
    return (
        f"{complexity(target).table()}\n"
        f"For one image; M: millions. OPs = other MACs + 1-bit MACs / {BINARY_SPEEDUP}. "
        "Multiplications, additions: element-wise,\nof gates, scales and shortcuts. Receptive "
        "field: pixels. Ratios: real-valued network with one branch / this one."
    )


def format_json(target: Any) -> str:
    """`complexity(target)` as indented JSON."""
    return json.dumps(complexity(target).to_dict(), indent=2)


def _of_config(config: GroupNetConfig) -> dict[str, Tally]:
    ops = CountOps(config)
    height, width, channels = config.input_shape
    return ops.tallies(network(ops, Map(height or 0, width or 0, channels)))


def _of_model(model: Any) -> dict[str, Tally]:
    """Walks the layers. Keras lists every layer after its inputs."""
    tallies: dict[str, Tally] = {}
    reach: dict[int, tuple[int, int]] = {}
    calls = Counter(id(node.layer) for nodes in model._nodes_by_depth.values() for node in nodes)
    for layer in model.layers:
        if not layer.name.startswith(("stem", "stage")) and not reach:
            continue  # A layer before the given input tensor.
        tally = tallies.setdefault(names.part(layer.name), Tally())
        _add_layer(tally, layer, calls[id(layer)])
        for call in range(calls[id(layer)]):
            inputs = _tensors(layer.get_input_at(call))
            field, step = max(reach.get(id(tensor), (1, 1)) for tensor in inputs)
            window = getattr(layer, "kernel_size", getattr(layer, "pool_size", (1, 1)))[0]
            field += (window - 1) * getattr(layer, "dilation_rate", (1, 1))[0] * step
            step *= getattr(layer, "strides", (1, 1))[0]
            outputs = _tensors(layer.get_output_at(call))
            reach.update((id(tensor), (field, step)) for tensor in outputs)
            tally.field = max(tally.field, field)
    return tallies


def _tensors(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _add_layer(tally: Tally, layer: Any, calls: int) -> None:
    """Adds Larq's parameters and MACs, and the element-wise work that Larq does not count."""
    from larq.models import LayerProfile
    from tensorflow.keras.layers import Add

    from larq_groupnet.network.layers import Aggregate, SoftGate

    profile = LayerProfile(layer)
    params = {bits: profile.weight_count(bits) for bits in profile.unique_param_bidtwidths}
    macs = {bits: profile.op_count("mac", bits) for bits in profile.unique_op_precisions}
    for sums, more in ((tally.params, params), (tally.macs, macs)):
        for bits, count in more.items():
            sums[bits] += count * (calls if sums is tally.macs else 1)
    inputs, outputs = len(_tensors(layer.get_input_at(0))), _tensors(layer.get_output_at(0))
    elements = math.prod(outputs[0].shape[1:]) if inputs > 1 or isinstance(layer, Aggregate) else 0
    if isinstance(layer, SoftGate):
        tally.multiplications += 2 * len(outputs) * elements
        tally.additions += len(outputs) * elements
    elif isinstance(layer, Aggregate):
        tally.multiplications += (inputs if layer.learned else 1) * elements
        tally.additions += (inputs - 1) * elements
    elif isinstance(layer, Add):
        tally.additions += (inputs - 1) * elements
    elif not names.is_extra_base(layer.name):
        tally.twin_params += sum(params.values())
        tally.twin_macs += sum(macs.values())
