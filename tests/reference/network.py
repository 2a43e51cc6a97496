"""Group-Net's forward pass in NumPy float64, written from the paper.

It shares no code with the library and imports neither TensorFlow nor `larq_groupnet`, so that a
mistake would have to be made twice to go unseen. Slow and plain on purpose. Tensors are
`(batch, height, width, channels)` float64, kernels `(height, width, in, out)`. Parameters are
found by their Keras names; stages, blocks and bases count from 1, as in those names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What distinguishes one network from another, besides its parameters.

    Attributes:
        kind: `"basic"` (3x3, 3x3) or `"bottleneck"` (1x1, 3x3, 1x1).
        blocks: Blocks of each stage.
        bases: K of each stage.
        strides: Stride of the first block of each stage.
        rates: Dilation of the 3x3 convolutions that do not stride, for each stage one per base.
        first_rates: The same of the first 3x3 convolution of each stage; empty for `rates`.
        decomposition: `"layer"`, `"group"` or `"gated"`.
        blocks_per_group: Blocks in one group of `"group"`.
        gate: One theta per `"block"` or per `"base"`.
        aggregation: `"scales"` or `"mean"`.
        first_base_sums: Section 9's quirk: base 1 hands on the sum over all bases as its own.
        shortcut: Around every `"conv"` or around the `"block"`.
        projection: The shortcut where stride or width changes: a `"binary"` 1x1 convolution, or
            the mean of each 2x2 and a `"real"` one.
        shared_shortcut: One of it for all bases, or one for each.
        relu: Between convolution and batch normalisation.
        padding: `"same"` (TensorFlow's) or `"torch"` (symmetric), both with +1 around binary
            convolutions; or `"zero"`, TensorFlow's with 0.
        stem_stride: 1 (3x3/1), 2 (7x7/2) or 4 (7x7/2 and max-pool 3x3/2).
        stem_bias: Whether the stem's convolution has a bias.
        stem_pool: The max-pool stands `"before_norm"` or `"after_norm"`.
        head: `"classifier"`, `"fcn32s"`, `"fcn16s"`, `"deeplabv3"` or `None`.
        align_corners: Corner pixels of scores meet those of the image, or the outlines do.
        pyramid: Dilation of the 3x3 branches of `"deeplabv3"`.
        binary: `False` replaces the sign of activations by tanh and keeps real kernels.
        eps: Constant of the batch normalisations.
    """

    kind: str = "basic"
    blocks: Sequence[int] = (2, 2, 2, 2)
    bases: Sequence[int] = (2, 2, 2, 2)
    strides: Sequence[int] = (1, 2, 2, 2)
    rates: Sequence[Sequence[int]] = ((1, 1),) * 4
    first_rates: Sequence[Sequence[int]] = ()
    decomposition: str = "gated"
    blocks_per_group: int = 1
    gate: str = "block"
    aggregation: str = "scales"
    first_base_sums: bool = False
    shortcut: str = "conv"
    projection: str = "binary"
    shared_shortcut: bool = False
    relu: bool = True
    padding: str = "same"
    stem_stride: int = 4
    stem_bias: bool = False
    stem_pool: str = "before_norm"
    head: str | None = "classifier"
    align_corners: bool = False
    pyramid: Sequence[int] = (3, 6, 9)
    binary: bool = True
    eps: float = 1e-5


class Place(NamedTuple):
    """Where a block is; `base=None` stands for all bases of a layer-wise block."""

    stage: int
    block: int
    base: int | None = None

    @property
    def name(self) -> str:
        """Name that the bases of this block share."""
        return f"stage{self.stage}_block{self.block}"

    @property
    def prefix(self) -> str:
        """Name of this base of the block."""
        return self.name if self.base is None else f"{self.name}_base{self.base}"


def sign(x: Array) -> Array:
    """-1 or +1, elementwise; 0 counts as positive."""
    return np.where(x >= 0, 1.0, -1.0)


def taps(
    x: Array, size: int, padding: str, stride: int = 1, rate: int = 1, value: float = 0.0
) -> Iterator[tuple[tuple[int, int], Array]]:
    """For each tap of a square kernel, the pixels it meets, `(batch, out_h, out_w, channels)`."""
    reach = rate * (size - 1)
    pads, outputs = [(0, 0)], []
    for length in x.shape[1:3]:
        if padding != "torch":
            out = -(-length // stride)
            total = max((out - 1) * stride + reach + 1 - length, 0)
            pads.append((total // 2, total - total // 2))
        else:
            out = (length + 2 * (reach // 2) - reach - 1) // stride + 1
            pads.append((reach // 2, reach // 2))
        outputs.append((out - 1) * stride + 1)
    x = np.pad(x, [*pads, (0, 0)], constant_values=value)
    for i, j in np.ndindex(size, size):
        rows = slice(i * rate, i * rate + outputs[0], stride)
        columns = slice(j * rate, j * rate + outputs[1], stride)
        yield (i, j), x[:, rows, columns]


def conv2d(
    x: Array, kernel: Array, padding: str, stride: int = 1, rate: int = 1, value: float = 0.0
) -> Array:
    """Cross-correlation of `x` padded with `value`: `(batch, out_h, out_w, out)`."""
    pixels = taps(x, len(kernel), padding, stride, rate, value)
    return np.sum([pixel @ kernel[tap] for tap, pixel in pixels], axis=0)


def max_pool(x: Array, padding: str) -> Array:
    """Maximum over 3x3 at stride 2, padding never wins: `(batch, out_h, out_w, channels)`."""
    return np.max([pixel for _, pixel in taps(x, 3, padding, 2, value=-np.inf)], axis=0)


def upsample(x: Array, wanted: Sequence[int], align_corners: bool) -> Array:
    """Bilinear, to a height and width; half-pixel centres with edges held, or aligned corners."""
    for axis, length in zip((1, 2), wanted, strict=True):
        size = x.shape[axis]
        if align_corners:
            centre = np.linspace(0, size - 1, length)
        else:
            centre = np.clip((np.arange(length) + 0.5) * size / length - 0.5, 0, size - 1)
        low = np.minimum(centre.astype(int), max(size - 2, 0))
        high = np.minimum(low + 1, size - 1)
        part = np.expand_dims(centre - low, tuple(a for a in range(x.ndim) if a != axis))
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def softmax(x: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Network:
    """The network that `options` describes, with `params` by Keras weight name.

    Called on images it gives probabilities `(batch, classes)`, logits
    `(batch, height, width, classes)` or, without a head, the last aggregate.
    """

    def __init__(self, params: Mapping[str, Array], options: Options):
        self.params = params
        self.options = options

    def __call__(self, images: Array) -> Array:
        scores, head = self.scores(images), self.options.head
        if head in ("fcn32s", "fcn16s", "deeplabv3"):
            return upsample(scores, images.shape[1:3], self.options.align_corners)
        return softmax(scores) if head == "classifier" else scores

    def scores(self, images: Array) -> Array:
        """The output before its last step: before the softmax or before the upsampling."""
        wirings = {"layer": self.layer_wise, "group": self.group_wise, "gated": self.gated}
        third, last = wirings[self.options.decomposition](self.stem(images))
        head = self.options.head
        if head == "classifier":
            return last.mean((1, 2)) @ self.get("logits/kernel") + self.get("logits/bias")
        if head in ("fcn32s", "fcn16s"):
            x = conv2d(last, self.get("head_conv1/kernel"), "same")
            x = np.maximum(self.batch_norm(x, "head_conv1_bn"), 0)
            x = self.score(x, "head_conv2")
            if head == "fcn32s":
                return x
            x = upsample(x, third.shape[1:3], self.options.align_corners)
            return x + self.score(third, "head_skip")
        return self.pyramid(last) if head == "deeplabv3" else last

    def score(self, x: Array, name: str) -> Array:
        """A real 1x1 convolution with bias."""
        return x @ self.get(f"{name}/kernel")[0, 0] + self.get(f"{name}/bias")

    def pyramid(self, x: Array) -> Array:
        """DeepLabv3's head: a pixel, three reaches and the whole map, each seen by K bases."""
        branches = [self.bases(x, "head_aspp1", 1)]
        for number, rate in enumerate(self.options.pyramid, 2):
            branches.append(self.bases(x, f"head_aspp{number}", rate))
        mean = self.bases(x.mean((1, 2), keepdims=True), "head_image", 1)
        branches.append(np.broadcast_to(mean, branches[0].shape))
        x = self.bases(np.concatenate(branches, -1), "head_project", 1)
        return self.score(x, "head_scores")

    def bases(self, x: Array, name: str, rate: int) -> Array:
        """The aggregate of K binary layers on the same input."""
        outputs = []
        for base in range(1, self.options.bases[-1] + 1):
            layer = f"{name}_base{base}_conv"
            y = np.maximum(self.binary_conv(x, layer, rate=rate), 0)
            outputs.append(self.batch_norm(y, f"{layer}_bn"))
        return self.aggregate(outputs, f"{name}_aggregate")

    def get(self, name: str) -> Array:
        """The parameter `name`, in float64."""
        return np.asarray(self.params[f"{name}:0"], np.float64)

    def batch_norm(self, x: Array, name: str) -> Array:
        """Inference batch normalisation over the last axis."""
        deviation = np.sqrt(self.get(f"{name}/moving_variance") + self.options.eps)
        x = (x - self.get(f"{name}/moving_mean")) / deviation
        return x * self.get(f"{name}/gamma") + self.get(f"{name}/beta")

    def stem(self, images: Array) -> Array:
        """Real convolution, max-pool at stride 4, batch normalisation, no ReLU."""
        options = self.options
        stride = min(options.stem_stride, 2)
        x = conv2d(images, self.get("stem_conv/kernel"), options.padding, stride)
        if options.stem_bias:
            x = x + self.get("stem_conv/bias")
        if options.stem_stride < 4:
            return self.batch_norm(x, "stem_bn")
        if options.stem_pool == "after_norm":
            return max_pool(self.batch_norm(x, "stem_bn"), options.padding)
        return self.batch_norm(max_pool(x, options.padding), "stem_bn")

    def binary_conv(self, x: Array, name: str, stride: int = 1, rate: int = 1) -> Array:
        """Convolution of signs with signs, padded with +1 or 0; or of tanh with real kernels."""
        kernel = self.get(f"{name}/kernel")
        if self.options.binary:
            x, kernel = sign(x), sign(kernel)
        else:
            x = np.tanh(x)
        value = 0.0 if self.options.padding == "zero" else 1.0
        return conv2d(x, kernel, self.options.padding, stride, rate, value)

    def convolve(self, x: Array, place: Place, layer: str, stride: int, dilated: bool) -> Array:
        """One convolution of a block: of one base, or the aggregate of all (layer-wise)."""
        stage = place.stage - 1
        bases = range(1, self.options.bases[stage] + 1) if place.base is None else [place.base]
        outputs = []
        for base in bases:
            first = place.block == 1 and layer == self.first_3x3
            rates = self.options.first_rates if first else ()
            rate = (rates or self.options.rates)[stage][base - 1] if dilated and stride == 1 else 1
            outputs.append(self.binary_conv(x, f"{place.name}_base{base}_{layer}", stride, rate))
        if place.base is None:
            return self.aggregate(outputs, f"{place.name}_{layer}_aggregate")
        return outputs[0]

    @property
    def first_3x3(self) -> str:
        """The first 3x3 convolution of a block."""
        return "conv1" if self.options.kind == "basic" else "conv2"

    def unit(
        self, x: Array, place: Place, layer: str, stride: int = 1, dilated: bool = False
    ) -> Array:
        """Convolution, ReLU, batch normalisation."""
        x = self.convolve(x, place, layer, stride, dilated)
        x = np.maximum(x, 0) if self.options.relu else x
        return self.batch_norm(x, f"{place.prefix}_{layer}_bn")

    def block(self, x: Array, place: Place) -> Array:
        """One residual block, `(batch, h, w, in)` to `(batch, h / stride, w / stride, out)`."""
        stride = self.options.strides[place.stage - 1] if place.block == 1 else 1
        inner = self.options.shortcut == "conv"
        if self.options.kind == "basic":
            skip = self.skip(x, place, "conv2", stride)
            h = self.unit(x, place, "conv1", stride, dilated=True)
            if inner:
                skip = h = h + skip
            return self.unit(h, place, "conv2", dilated=True) + skip
        h = self.unit(x, place, "conv1")
        y = self.unit(h, place, "conv2", stride, dilated=True)
        # The specification leaves open what goes around a bottleneck's convolutions: the project
        # adds around the 3x3 one where that changes nothing in shape, and around the block.
        if inner and stride == 1:
            y = y + h
        return self.unit(y, place, "conv3") + self.skip(x, place, "conv3", stride)

    def skip(self, x: Array, place: Place, last: str, stride: int) -> Array:
        """The shortcut: `x`, or where stride or width changes a 1x1 convolution and BN, no ReLU."""
        width = self.get(f"{place.name}_base{place.base or 1}_{last}/kernel").shape[-1]
        if stride == 1 and x.shape[-1] == width:
            return x
        shared = self.options.shared_shortcut
        prefix = place.name if shared else place.prefix
        if self.options.projection == "real":
            rest = [(0, -length % stride) for length in x.shape[1:3]]
            x = np.pad(x, [(0, 0), *rest, (0, 0)], constant_values=np.nan)
            corners = [x[:, i::stride, j::stride] for i, j in np.ndindex(stride, stride)]
            x = np.nanmean(corners, axis=0) @ self.get(f"{prefix}_shortcut/kernel")[0, 0]
        elif shared:
            x = self.binary_conv(x, f"{prefix}_shortcut", stride)
        else:
            x = self.convolve(x, place, "shortcut", stride, dilated=False)
        return self.batch_norm(x, f"{prefix}_shortcut_bn")

    def aggregate(self, tensors: Sequence[Array], name: str) -> Array:
        """Scaled sum or mean of K tensors of one shape."""
        if self.options.aggregation == "mean":
            return np.mean(tensors, axis=0)
        return np.tensordot(self.get(f"{name}/scales"), np.stack(tensors), 1)

    def gate(self, aggregate: Array, own: Sequence[Array], name: str) -> list[Array]:
        """What each base reads: a convex mixture of its own last output and the aggregate."""
        theta = self.get(f"{name}/theta")
        expected = len(own) if self.options.gate == "base" else 1
        if theta.shape != (expected,):
            raise ValueError(f"{name}: expected {expected} gates. Received: shape {theta.shape}")
        sigma = np.broadcast_to(1 / (1 + np.exp(-theta)), len(own))
        return [s * x + (1 - s) * aggregate for s, x in zip(sigma, own, strict=True)]

    def places(self) -> list[Place]:
        """All blocks in order."""
        return [Place(s, b) for s, n in enumerate(self.options.blocks, 1) for b in range(1, n + 1)]

    # The wirings give the aggregates at the end of the last stage but one, and of the last.

    def layer_wise(self, x: Array) -> tuple[Array, Array]:
        """Every convolution is rebuilt from K of them."""
        third = x
        for place in self.places():
            x = self.block(x, place)
            third = x if place.stage == 3 else third
        return third, x

    def group_wise(self, x: Array) -> tuple[Array, Array]:
        """K chains of `blocks_per_group` blocks, aggregated, then the next K chains."""
        places, length, third = self.places(), self.options.blocks_per_group, x
        for start in range(0, len(places), length):
            group = places[start : start + length]
            outputs = []
            for base in range(1, self.options.bases[group[0].stage - 1] + 1):
                h = x
                for place in group:
                    h = self.block(h, place._replace(base=base))
                outputs.append(h)
            x = self.aggregate(outputs, f"{group[-1].name}_aggregate")
            third = x if group[-1].stage == 3 else third
        return third, x

    def gated(self, x: Array) -> tuple[Array, Array]:
        """Every base reads a gated mixture; one without a predecessor reads the aggregate."""
        own: list[Array] = []
        third = x
        for place in self.places():
            count = self.options.bases[place.stage - 1]
            inputs = self.gate(x, own[:count], f"{place.name}_gate") if own else []
            inputs += [x] * (count - len(inputs))
            own = [self.block(h, place._replace(base=k)) for k, h in enumerate(inputs, 1)]
            x = self.aggregate(own, f"{place.name}_aggregate")
            third = x if place.stage == 3 else third
            if self.options.first_base_sums:
                own[0] = np.sum(own, axis=0)
        return third, x
