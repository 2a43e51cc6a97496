"""Builds a Keras model with random weights from a `GroupNetConfig`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import ConfigError
from larq_groupnet.network import names
from larq_groupnet.network.blocks import stem
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.kinds import DECOMPOSITIONS, HEADS
from larq_groupnet.network.ops import Ops, Tensor
from larq_groupnet.network.options import fail
from larq_groupnet.values import is_whole

if TYPE_CHECKING:
    import tensorflow as tf


def network(ops: Ops, images: Tensor) -> Tensor:
    """The whole structure of the network `ops.config`, built or counted by `ops`.

    Args:
        ops: The operations.
        images: `(batch, height, width, channels)`.

    Returns:
        The output of the head, or with `head=None` the last aggregate.
    """
    config = ops.config
    ops.image = images
    wire = DECOMPOSITIONS[config.decomposition].wire
    stages = _last_aggregates(config, wire(ops, stem(ops, images)))
    if config.head is None:
        return stages[len(config.blocks) - 1]
    output = HEADS[config.head].build(ops, stages)
    if output is None:
        raise ConfigError(f"head: expected {config.head!r} to return its output. Received: None")
    return output


def _last_aggregates(config: GroupNetConfig, found: Any) -> dict[int, Tensor]:
    """The last aggregate that a wiring yielded for each stage (from 0)."""
    last = len(config.blocks) - 1
    pairs = list(found) if isinstance(found, Iterator | list) else [found]
    right = all(
        isinstance(pair, tuple) and len(pair) == 2 and is_whole(pair[0], 0, last) for pair in pairs
    )
    if not right or not pairs or pairs[-1][0] != last:
        raise ConfigError(
            f"decomposition: expected {config.decomposition!r} to yield (stage, aggregate), stages "
            f"counted from 0, and stage {last} last. Received: {pairs!r:.200}"
        )
    return dict(pairs)


def check_input_tensor(tensor: object) -> None:
    """Raises a ConfigError unless `tensor` is a Keras tensor."""
    import tensorflow as tf

    try:
        right = tf.keras.backend.is_keras_tensor(tensor)
    except ValueError:  # It is not a tensor at all.
        right = False
    if not right:
        kind = f"{type(tensor).__module__}.{type(tensor).__name__}"  # Keras 3 has tensors, too.
        fail("input_tensor", "a Keras tensor such as tf.keras.Input((32, 32, 3))", kind)


def build(
    config: GroupNetConfig, *, input_tensor: tf.Tensor | None = None, name: str = "groupnet"
) -> tf.keras.Model:
    """Builds the network that `config` describes, with random weights.

    Args:
        config: The network.
        input_tensor: Keras tensor `(batch, height, width, channels)` to read from instead of a new
            input.
        name: Name of the model.

    Returns:
        A functional `tf.keras.Model`. Its output is `(batch, num_classes)` with
        `head="classifier"`, `(batch, height, width, num_classes)` with a head that scores pixels
        (`config.gives` says whether these are probabilities or logits), and the last aggregate with
        `head=None`.
    """
    import tensorflow as tf

    from larq_groupnet.network.keras_ops import KerasOps

    inputs = input_tensor
    if inputs is None:
        inputs = tf.keras.layers.Input(config.input_shape, name=names.IMAGE)
    check_input_tensor(inputs)
    x = network(KerasOps(config), inputs)
    if input_tensor is not None:
        inputs = tf.keras.utils.get_source_inputs(input_tensor)
    return tf.keras.Model(inputs, x, name=name)
