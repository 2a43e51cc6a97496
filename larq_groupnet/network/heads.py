"""The heads: a classifier, or scores for each pixel.

They are real-valued, except for DeepLabv3's binary layers. A head takes the operations and the last
aggregate of each stage (from 0).
"""

from __future__ import annotations

from collections.abc import Mapping

from larq_groupnet.network import names
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.decomposition import real_unit
from larq_groupnet.network.kinds import DECOMPOSITIONS, head
from larq_groupnet.network.ops import Ops, Tensor
from larq_groupnet.network.options import fail

Stages = Mapping[int, Tensor]

PIXELS = ("dropout", "spatial_dropout", "align_corners")
"""Options that heads for segmentation use."""


@head("classifier", task="classification", output="probabilities")
def classifier(ops: Ops, stages: Stages) -> Tensor:
    """Global average -> dense -> softmax: `(batch, num_classes) float32`."""
    x = ops.global_pool(_last(stages), "head_pool")
    gives_logits = ops.config.gives == "logits"
    x = ops.dense(x, ops.config.num_classes, names.LOGITS, final=gives_logits)
    return x if gives_logits else ops.softmax(x, names.PROBABILITIES)


@head("fcn32s", task="segmentation", uses=PIXELS)
def fcn32s(ops: Ops, stages: Stages) -> Tensor:
    """Convolution 3x3 (C -> C/4) -> BN -> ReLU -> dropout -> 1x1 -> bilinear upsampling.

    Returns:
        `(batch, height, width, num_classes) float32`.
    """
    return scores_of_pixels(ops, _fcn_scores(ops, _last(stages)))


def _ends_with_third_stage(config: GroupNetConfig) -> None:
    before = sum(config.blocks[:-1])
    if before % config.blocks_per_group:
        fail(
            "blocks_per_group",
            f"a divisor of {before} with head='fcn16s', which reads the aggregate at the end of "
            "the third stage",
            config.blocks_per_group,
        )


@head("fcn16s", task="segmentation", uses=PIXELS, check=_ends_with_third_stage)
def fcn16s(ops: Ops, stages: Stages) -> Tensor:
    """FCN-32s, with the scores of the third stage added before upsampling to the image.

    A 1x1 convolution scores the third stage (Long et al., CVPR 2015, where it has stride 16). To
    take the third stage, whatever its stride, is this project's reading of the paper. At output
    stride 32 its map is twice as large, so the last scores are first upsampled to its size. At 8
    and 16 the last stage is dilated instead, and the two maps have the same size.

    Returns:
        `(batch, height, width, num_classes) float32`.
    """
    config = ops.config
    x = _fcn_scores(ops, _last(stages))
    third = stages[len(config.blocks) - 2]
    if config.stage_strides[-1] > 1:
        x = ops.resize(x, third, "head_conv2_up")
    skip = ops.conv(third, config.num_classes, 1, "head_skip", bias=True, padding="valid")
    return scores_of_pixels(ops, ops.add([x, skip], "head_sum"))


@head("deeplabv3", task="segmentation", uses=PIXELS)
def deeplabv3(ops: Ops, stages: Stages) -> Tensor:
    """Atrous spatial pyramid pooling (Chen et al., 2017), binary, each branch of K bases.

    A 1x1 branch, a 3x3 branch for each of `config.aspp_rates` and the global average are
    concatenated, each with as many channels as the third stage (256 at width 1) and K as in the
    last stage. Then follow a 1x1 layer of K bases, dropout, and the only real-valued layer, a 1x1
    convolution.

    Returns:
        `(batch, height, width, num_classes) float32`.
    """
    config = ops.config
    x = _last(stages)
    branches = [_bases(ops, x, 1, 1, "head_aspp1")]
    for number, rate in enumerate(config.aspp_rates, 2):
        branches.append(_bases(ops, x, 3, rate, f"head_aspp{number}"))
    pooled = ops.global_pool(x, "head_pool", keepdims=True)
    pooled = _bases(ops, pooled, 1, 1, "head_image")
    branches.append(ops.broadcast(pooled, branches[0], "head_image_map"))
    x = _bases(ops, ops.concatenate(branches, "head_concat"), 1, 1, "head_project")
    x = ops.dropout(x, "head_dropout")
    x = ops.conv(x, config.num_classes, 1, "head_scores", bias=True, padding="valid")
    return scores_of_pixels(ops, x)


def scores_of_pixels(ops: Ops, scores: Tensor, factor: int | None = None) -> Tensor:
    """Upsamples scores to the size of the image and returns what `config.gives` says.

    Args:
        ops: The operations.
        scores: `(batch, height, width, classes)`.
        factor: Upsampling factor, for a size other than that of the image.
    """
    to = ops.image if factor is None else factor
    logits = ops.resize(scores, to, names.LOGITS, final=True)
    if ops.config.gives == "probabilities":
        return ops.softmax(logits, names.PROBABILITIES)
    return logits


def _last(stages: Stages) -> Tensor:
    return stages[max(stages)]


def _fcn_scores(ops: Ops, x: Tensor) -> Tensor:
    x = ops.conv(x, max(ops.channels(x) // 4, 1), 3, "head_conv1")
    x = ops.relu(ops.norm(x, "head_conv1_bn"), "head_conv1_relu")
    x = ops.dropout(x, "head_dropout")
    return ops.conv(x, ops.config.num_classes, 1, "head_conv2", bias=True, padding="valid")


def _bases(ops: Ops, x: Tensor, kernel: int, rate: int, name: str) -> Tensor:
    """A layer of K bases: K times convolution -> ReLU -> BN on the same input, aggregated.

    With `decomposition="none"` a plain real layer: convolution -> BN -> ReLU.
    """
    config = ops.config
    filters = config.stage_channels[-2]
    if not DECOMPOSITIONS[config.decomposition].binary:
        x = real_unit(ops, x, filters, kernel, f"{name}_conv", rate=rate)
        return ops.relu(x, f"{name}_conv_relu")
    count = config.bases_per_stage[-1]

    def unit(base: int, x: Tensor) -> Tensor:
        prefix = f"{names.base(name, base)}_conv"
        y = ops.binary_conv(x, filters, kernel, prefix, rate=rate)
        return ops.norm(ops.relu(y, f"{prefix}_relu"), names.norm(prefix))

    return ops.aggregate(ops.each_base([x] * count, [(rate,)] * count, unit), names.aggregate(name))
