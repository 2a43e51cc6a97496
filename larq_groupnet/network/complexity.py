"""What a Group-Net costs: parameters, memory, MACs, element-wise work, receptive field.

Counted in: kernels and biases, two values per channel and batch normalisation (four, of which
inference keeps a scale and an offset: as `lq.models.summary` counts), scales and gates; MACs of
every convolution and of the dense layer; the multiplications and additions of gates, aggregates
and shortcuts, in elements, as the Keras graph does them (conversion may fold some). Left out: the
work of batch normalisation, biases, ReLU, quantizers, padding, pooling, upsampling and softmax.

A configuration is counted without TensorFlow, in a millisecond. A model is counted layer by layer
with Larq's own profile, so that the two ways check each other.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from terminaltables import AsciiTable

from larq_groupnet.config import BOTTLENECK_EXPANSION, NUM_STAGES, GroupNetConfig

BINARY_SPEEDUP = 64
"""Binary MACs that count as one operation."""

_STAGES = ("stem", *(f"stage{stage}" for stage in range(1, NUM_STAGES + 1)), "head")
_PRECISIONS = {"ste_tern": 2, "dorefa_quantizer": 2}
_Counted = Iterator[tuple[str, "Counts"]]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What one part of a network costs, for one image.

    The twin is the real-valued single-branch network of the same layout: K=1 with real kernels,
    no scales, no gates. That is the plain ResNet of the same width, stem, strides and head, its
    batch normalisations counted as here.

    Attributes:
        params: Bit width -> number of parameters.
        macs: Precision in bits (the larger of kernel and input) -> multiply-accumulates.
        multiplications: Element-wise multiplications of gates and aggregates.
        additions: Element-wise additions of gates, aggregates and shortcuts.
        receptive_field: Side in input pixels of what one pixel of the last feature map depends on,
            without regard to the border: dilation counted, along the base that reaches farthest.
            0 for the head.
        twin_params: Parameters of the twin.
        twin_macs: MACs of the twin.
    """

    params: Mapping[int, int] = dataclasses.field(default_factory=dict)
    macs: Mapping[int, int] = dataclasses.field(default_factory=dict)
    multiplications: int = 0
    additions: int = 0
    receptive_field: int = 0
    twin_params: int = 0
    twin_macs: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            _merge(self.params, other.params),
            _merge(self.macs, other.macs),
            self.multiplications + other.multiplications,
            self.additions + other.additions,
            max(self.receptive_field, other.receptive_field),
            self.twin_params + other.twin_params,
            self.twin_macs + other.twin_macs,
        )

    def replicated(self, bases: int) -> Counts:
        """Kernels, normalisations and shortcuts of `bases` branches, of which the twin has one."""
        return dataclasses.replace(
            self,
            params={bits: bases * count for bits, count in self.params.items()},
            macs={bits: bases * count for bits, count in self.macs.items()},
            additions=bases * self.additions,
        )

    @property
    def memory(self) -> dict[int, float]:
        """Bit width -> bytes of the parameters."""
        return {bits: bits * count / 8 for bits, count in self.params.items()}

    @property
    def total_memory(self) -> float:
        """Bytes of all parameters."""
        return sum(self.memory.values())

    @property
    def ops(self) -> float:
        """Real MACs + binary MACs / 64; MACs of other precisions count as real ones."""
        binary = self.macs.get(1, 0)
        return sum(self.macs.values()) - binary + binary / BINARY_SPEEDUP

    @property
    def memory_compression(self) -> float:
        """Memory of the real-valued twin over memory of this (1 where there is neither)."""
        return 4 * self.twin_params / self.total_memory if self.total_memory else 1.0

    @property
    def ops_compression(self) -> float:
        """OPs of the real-valued twin over OPs of this (1 where there are neither)."""
        return self.twin_macs / self.ops if self.ops else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with bit widths as strings: the same before and after JSON."""
        values = dataclasses.asdict(self) | {"memory": self.memory}
        for name in ("params", "memory", "macs"):
            values[name] = {str(bits): count for bits, count in values[name].items()}
        derived = ("total_memory", "ops", "memory_compression", "ops_compression")
        return values | {name: getattr(self, name) for name in derived}


@dataclasses.dataclass(frozen=True)
class Complexity:
    """The cost of a network for one image.

    Attributes:
        stages: `stem`, `stage1` to `stage4` and `head`, in this order.
    """

    stages: Mapping[str, Counts]

    @property
    def total(self) -> Counts:
        """The sum over all stages."""
        return _sum(self.stages.values())

    def to_dict(self) -> dict[str, Any]:
        """`{"stages": {name: ...}, "total": ...}` of plain values, fit for JSON."""
        stages = {name: counts.to_dict() for name, counts in self.stages.items()}
        return {"stages": stages, "total": self.total.to_dict()}

    def table(self) -> str:
        """One row per stage, then the total; `report` explains the columns."""
        total = self.total
        heading = ["", *(f"{bits}-bit\nparameters" for bits in total.params), "Memory\n(kB)"]
        heading += [f"{bits}-bit\nMACs (M)" for bits in total.macs]
        heading += ["OPs\n(M)", "Multipli-\ncations\n(M)", "Additions\n(M)", "Receptive\nfield"]
        rows = [[*heading, "Memory\nratio", "OPs\nratio"]]
        for name, counts in {**self.stages, "total": total}.items():
            row = [name, *(f"{counts.params.get(bits, 0):,}" for bits in total.params)]
            row += [f"{counts.total_memory / 1024:,.1f}"]
            work: list[float] = [counts.macs.get(bits, 0) for bits in total.macs]
            work += [counts.ops, counts.multiplications, counts.additions]
            row += [f"{number / 1e6:,.2f}" for number in work]
            row += [str(counts.receptive_field or "-")]
            rows += [[*row, f"{counts.memory_compression:.2f}", f"{counts.ops_compression:.2f}"]]
        table = AsciiTable(rows)
        table.inner_column_border, table.inner_footing_row_border = False, True
        table.justify_columns = dict.fromkeys(range(1, len(rows[0])), "right")
        return str(table.table)

    def __str__(self) -> str:
        return self.table()


def complexity(target: Any) -> Complexity:
    """Counts what a network costs for one image.

    Args:
        target: A `GroupNetConfig`, or a `tf.keras.Model` that `larq_groupnet` has built. The
            configuration needs no TensorFlow, unless a quantizer is given as a mapping.

    Returns:
        The cost per stage and in total. Parameters, memory and MACs agree exactly with
        `lq.models.ModelProfile`, which counts memory in bits.

    Raises:
        TypeError: If `target` is neither.
        ValueError: If height or width is `None`.
    """
    from_config = isinstance(target, GroupNetConfig)
    names = {layer.name for layer in getattr(target, "layers", ())}
    if not from_config and not {"stem_conv", "stem_bn"} <= names:
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
    stages = dict.fromkeys(_STAGES, Counts())
    for name, counts in _count_config(target) if from_config else _count_model(target):
        stages[name] += counts
    return Complexity(stages)


def report(target: Any) -> str:
    """The table of `complexity(target)` and what its columns mean."""
    return (
        f"{complexity(target).table()}\n"
        f"For one image; M: millions. OPs = other MACs + 1-bit MACs / {BINARY_SPEEDUP}. "
        "Multiplications, additions: elements,\nof gates, scales and shortcuts. Receptive field: "
        "pixels. Ratios: real-valued network with one branch over this."
    )


def format_json(target: Any) -> str:
    """`complexity(target)` as indented JSON."""
    return json.dumps(complexity(target).to_dict(), indent=2)


def _merge(first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
    bits = sorted({*first, *second})
    return {b: first.get(b, 0) + second.get(b, 0) for b in bits}


def _sum(parts: Iterable[Counts]) -> Counts:
    return sum(parts, Counts())


def _convolution(
    kernel: int, inputs: int, outputs: int, pixels: int, bits: tuple[int, int] = (32, 32)
) -> Counts:
    """A convolution without bias; `bits` are those of the kernel and of the MACs."""
    weights = kernel**2 * inputs * outputs
    macs = weights * pixels
    return Counts({bits[0]: weights}, {bits[1]: macs}, twin_params=weights, twin_macs=macs)


def _vector(length: int) -> Counts:
    """Real parameters that the twin has too: a bias, or one of the two of a normalisation."""
    return Counts({32: length}, twin_params=length)


def _aggregate(bases: int, elements: int, learned: bool) -> Counts:
    products, sums = (bases if learned else 1), bases - 1
    return Counts({32: bases} if learned else {}, {}, products * elements, sums * elements)


def _gate(bases: int, elements: int, per_base: bool) -> Counts:
    return Counts({32: bases if per_base else 1}, {}, 2 * bases * elements, bases * elements)


def _count_config(config: GroupNetConfig) -> _Counted:
    """Walks the structure that `decomposition.decompose` builds."""
    # Of the stem: 3x3; 7x7; 7x7 and a pool of 3x3 on every second pixel.
    field = {1: 3, 2: 7, 4: 11}[config.stem_stride]
    yield "stem", _stem(config) + Counts(receptive_field=field)
    height, width, _ = config.input_shape
    step, pixels = config.stem_stride, (height or 0) * (width or 0) // config.stem_stride**2
    channels, own, total = config.stage_channels[0], 0, sum(config.blocks)
    # One field per base, because a chain of blocks never sees the rates of the other bases.
    fields: list[int] = []
    blocks = ((stage, index) for stage, n in enumerate(config.blocks) for index in range(n))
    for done, (stage, index) in enumerate(blocks, 1):
        name, bases = _STAGES[stage + 1], config.bases_per_stage[stage]
        stride = config.stage_strides[stage] if index == 0 else 1
        if config.decomposition == "gated" and own:
            yield name, _gate(min(own, bases), pixels * channels, config.gate == "base")
        yield name, _block(config, stage, stride, channels, pixels)
        fields = [
            before + step * _reach(config, stage, stride, base)
            for base, before in enumerate(fields or [field] * bases)
        ]
        yield name, Counts(receptive_field=max(fields))
        step, pixels, channels = step * stride, pixels // stride**2, _width(config, stage)
        if done % config.blocks_per_group == 0 or done == total:
            field, fields = max(fields), []
            if config.decomposition in ("group", "gated"):
                yield name, _aggregate(bases, pixels * channels, config.aggregation == "scales")
        # The last block's own outputs are read by nobody.
        if config.first_base_sums and done < total:
            yield name, Counts(additions=(bases - 1) * pixels * channels)
        own = bases
    yield "head", _head(config, channels, pixels)


def _reach(config: GroupNetConfig, stage: int, stride: int, base: int) -> int:
    """By how many pixels of its input one block of one base widens the receptive field."""
    rate = config.rate(stage, base)
    # The convolution that strides is not dilated.
    first = 2 * (rate if stride == 1 else 1)
    return first + 2 * rate * stride if config.block_kind == "basic" else first


def _width(config: GroupNetConfig, stage: int) -> int:
    expansion = 1 if config.block_kind == "basic" else BOTTLENECK_EXPANSION
    return expansion * config.stage_channels[stage]


def _stem(config: GroupNetConfig) -> Counts:
    kernel, stride = (3, 1) if config.stem_stride == 1 else (7, 2)
    height, width, inputs = config.input_shape
    filters = config.stage_channels[0]
    pixels = (height or 0) * (width or 0) // stride**2
    return _convolution(kernel, inputs, filters, pixels) + _vector(filters * (2 + config.stem_bias))


def _block(config: GroupNetConfig, stage: int, stride: int, inputs: int, pixels: int) -> Counts:
    """All bases of one block, without the gate before and the aggregate behind it."""
    filters, width = config.stage_channels[stage], _width(config, stage)
    after, basic = pixels // stride**2, config.block_kind == "basic"
    convolutions = [(1, inputs, filters, pixels), (3, filters, filters, after)]
    convolutions += [(1, filters, width, after)]
    if basic:
        convolutions = [(3, inputs, filters, after), (3, filters, filters, after)]
    if stride > 1 or inputs != width:
        convolutions += [(1, inputs, width, after)]
    plain = config.decomposition == "none"
    inner = config.shortcut == "conv" and (basic or stride == 1) and not plain
    rest = _sum(_vector(2 * outputs) for _, _, outputs, _ in convolutions)
    rest += Counts(additions=after * (width + inner * filters))
    bases, bits = config.bases_per_stage[stage], _bits(config)
    kernels = _sum(_convolution(*shape, bits) for shape in convolutions).replicated(bases)
    if config.decomposition != "layer":
        return kernels + rest.replicated(bases)
    learned = config.aggregation == "scales"
    sums = (_aggregate(bases, outputs * size, learned) for _, _, outputs, size in convolutions)
    return kernels + rest + _sum(sums)


def _head(config: GroupNetConfig, channels: int, pixels: int) -> Counts:
    classes = config.num_classes
    if config.head is None:
        return Counts()
    if config.head == "classifier":
        return _convolution(1, channels, classes, 1) + _vector(classes)
    if config.head == "deeplabv3":
        return _aspp(config, channels, pixels)
    middle = max(channels // 4, 1)
    scores = _convolution(3, channels, middle, pixels) + _vector(2 * middle)
    scores += _convolution(1, middle, classes, pixels) + _vector(classes)
    if config.head == "fcn16s":
        third = NUM_STAGES - 2
        pixels *= config.stage_strides[third + 1] ** 2
        scores += _convolution(1, _width(config, third), classes, pixels) + _vector(classes)
        scores += Counts(additions=classes * pixels)
    return scores


def _aspp(config: GroupNetConfig, channels: int, pixels: int) -> Counts:
    """The 1x1 and the dilated branches, the average's, the projection, and the real scores."""
    filters, bases = config.stage_channels[NUM_STAGES - 2], config.bases_per_stage[-1]
    branches = [(1, channels, pixels), *((3, channels, pixels) for _ in config.aspp_rates)]
    branches += [(1, channels, 1), (1, filters * (len(branches) + 1), pixels)]
    head = _convolution(1, filters, config.num_classes, pixels) + _vector(config.num_classes)
    for kernel, inputs, size in branches:
        layer = _convolution(kernel, inputs, filters, size, _bits(config)) + _vector(2 * filters)
        head += layer.replicated(bases)
        if config.decomposition != "none":
            head += _aggregate(bases, filters * size, config.aggregation == "scales")
    return head


def _bits(config: GroupNetConfig) -> tuple[int, int]:
    """Bits of a kernel between stem and head, and of its MACs."""
    if not config.binary:
        return 32, 32
    quantizer = config.kernel_quantizer if config.binary is True else None
    kernel, inputs = map(_precision, (quantizer, config.input_quantizer))
    return kernel, max(kernel, inputs)


def _precision(quantizer: Any) -> int:
    if isinstance(quantizer, str):
        return _PRECISIONS.get(quantizer, 1)
    if isinstance(quantizer, Mapping):
        import larq as lq

        quantizer = lq.quantizers.get(dict(quantizer))
    return getattr(quantizer, "precision", None) or 32


def _count_model(model: Any) -> _Counted:
    """Walks the layers, which Keras keeps in an order in which each stands behind its inputs."""
    reach: dict[int, tuple[int, int]] = {}
    for layer in model.layers:
        stage = re.match(r"stem|stage\d", layer.name)
        yield stage.group() if stage else "head", _layer(layer)
        if not stage:
            continue
        inputs = _tensors(layer.get_input_at(0))
        field, step = max(reach.get(id(tensor), (1, 1)) for tensor in inputs)
        window = getattr(layer, "kernel_size", getattr(layer, "pool_size", (1, 1)))[0]
        field += (window - 1) * getattr(layer, "dilation_rate", (1, 1))[0] * step
        step *= getattr(layer, "strides", (1, 1))[0]
        reach.update((id(tensor), (field, step)) for tensor in _tensors(layer.get_output_at(0)))
        yield stage.group(), Counts(receptive_field=field)


def _tensors(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _layer(layer: Any) -> Counts:
    """Parameters and MACs as Larq profiles them, and the element-wise work that it cannot see."""
    from larq.models import LayerProfile
    from tensorflow.keras.layers import Add

    from larq_groupnet.network.layers import Aggregate, SoftGate

    outputs = _tensors(layer.get_output_at(0))
    elements = math.prod(outputs[0].shape[1:])
    if isinstance(layer, Aggregate):
        return _aggregate(len(_tensors(layer.get_input_at(0))), elements, layer.learned)
    if isinstance(layer, SoftGate):
        return _gate(len(outputs), elements, layer.per_base)
    if isinstance(layer, Add):
        return Counts(additions=(len(_tensors(layer.get_input_at(0))) - 1) * elements)
    profile = LayerProfile(layer)
    params = {bits: profile.weight_count(bits) for bits in profile.unique_param_bidtwidths}
    macs = {bits: profile.op_count("mac", bits) for bits in profile.unique_op_precisions}
    if re.search(r"_base(?!1_)\d", layer.name):
        return Counts(params, macs)
    return Counts(params, macs, 0, 0, 0, sum(params.values()), sum(macs.values()))
