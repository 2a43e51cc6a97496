"""How K bases are wired: layer-wise, group-wise and gated."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.network.blocks import Block, aggregate
from larq_groupnet.network.layers import SoftGate
from larq_groupnet.network.resnet import Aggregates, residual_stages


def decompose(x: tf.Tensor, config: GroupNetConfig) -> dict[int, tf.Tensor]:
    """All residual stages of the network.

    Args:
        x: Output of the stem, `(batch, height, width, stage_channels[0])`.
        config: Says how many bases there are and how they are connected.

    Returns:
        Stage (from 0) -> the last aggregate in it, `(batch, height / s, width / s, channels of the
        stage)` with s the stride of the stage over that of the stem. Absent where a group runs
        across the whole stage.
    """
    wirings = {
        "layer": _layer_wise,
        "group": _group_wise,
        "gated": _gated,
        "none": residual_stages,
    }
    return dict(wirings[config.decomposition](x, config))


def _blocks(config: GroupNetConfig) -> Iterator[tuple[int, int]]:
    for stage, count in enumerate(config.blocks):
        for block in range(count):
            yield stage, block


def _layer_wise(x: tf.Tensor, config: GroupNetConfig) -> Aggregates:
    for stage, block in _blocks(config):
        x = Block(config, stage, block, base=None)(x)
        yield stage, x


def _group_wise(x: tf.Tensor, config: GroupNetConfig) -> Aggregates:
    total = sum(config.blocks)
    streams: list[tf.Tensor] = []
    for done, (stage, block) in enumerate(_blocks(config), 1):
        streams = streams or [x] * config.bases_per_stage[stage]
        streams = _bases(streams, config, stage, block)
        if done % config.blocks_per_group == 0 or done == total:
            x = _aggregate(streams, config, stage, block)
            yield stage, x
            streams = []


def _gated(x: tf.Tensor, config: GroupNetConfig) -> Aggregates:
    own: list[tf.Tensor] = []
    for stage, block in _blocks(config):
        count = config.bases_per_stage[stage]
        streams = _gate(x, own[:count], config, stage, block) if own else []
        # Bases without a predecessor (first block, or a stage with more of them) read x.
        streams += [x] * (count - len(streams))
        own = _bases(streams, config, stage, block)
        x = _aggregate(own, config, stage, block)
        yield stage, x
        if config.first_base_sums and count > 1:
            own[0] = tf.keras.layers.Add(name=f"stage{stage + 1}_block{block + 1}_sum")(own)


def _bases(
    streams: list[tf.Tensor], config: GroupNetConfig, stage: int, block: int
) -> list[tf.Tensor]:
    return [Block(config, stage, block, base)(x) for base, x in enumerate(streams)]


def _aggregate(
    streams: list[tf.Tensor], config: GroupNetConfig, stage: int, block: int
) -> tf.Tensor:
    return aggregate(streams, config, f"stage{stage + 1}_block{block + 1}_aggregate")


def _gate(
    x: tf.Tensor, own: list[tf.Tensor], config: GroupNetConfig, stage: int, block: int
) -> list[tf.Tensor]:
    name = f"stage{stage + 1}_block{block + 1}_gate"
    return SoftGate(config.gate == "base", name=name)([x, *own])
