"""Weights for a network with more bases, which computes the same until it is trained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from larq_groupnet.network.config import GroupNetConfig

if TYPE_CHECKING:
    import tensorflow as tf

FLIPPED = 0.1
"""Share of the signs in which a new base differs from the base it copies."""


def may_grow(theirs: GroupNetConfig, ours: GroupNetConfig) -> bool:
    """True if `ours` can grow from the fewer bases of `theirs`; compares no other options."""
    few, many = theirs.bases_per_stage, ours.bases_per_stage
    scaled = ours.aggregation == "scales" and not ours.first_base_sums
    fewer = len(few) == len(many) and all(a <= b for a, b in zip(few, many, strict=True))
    return scaled and fewer and few != many


def grow(source: tf.keras.Model, target: tf.keras.Model, seed: int) -> None:
    """Copies the weights of a network into one that differs only in having more bases.

    Each new base is a copy of the last old one, with `FLIPPED` of its signs flipped, because exact
    copies would learn the same. Its scale is 0, so both networks compute the same.

    Args:
        source: A model made by `larq_groupnet.build`.
        target: The same with a configuration that `may_grow` accepts.
        seed: Seed of the flipped signs.
    """
    from larq_groupnet.network.quantizers import has_latent_kernel  # It imports TensorFlow.

    values = {weight.name: weight.numpy() for weight in source.weights}
    latent = {layer.kernel.name for layer in target.layers if has_latent_kernel(layer)}
    random = np.random.RandomState(seed)
    for weight in target.weights:
        name = weight.name
        while name not in values:
            name = re.sub(r"_base(\d+)_", lambda found: f"_base{int(found[1]) - 1}_", name)
        value = values[name]
        if weight.name in latent and name != weight.name:
            value = np.where(random.rand(*value.shape) < FLIPPED, -value, value)
        if missing := (weight.shape[0] - value.shape[0]) if value.ndim == 1 else 0:
            of_scales = name.endswith("/scales:0")
            value = np.pad(value, (0, missing), "constant" if of_scales else "edge")
        weight.assign(value)
