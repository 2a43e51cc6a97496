"""Takes functional models apart, and rebuilds them so that each layer is called once."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.errors import ConversionError


def is_functional(layer: tf.keras.layers.Layer) -> bool:
    """True for a functional model, whose graph of layers is known."""
    return bool(getattr(layer, "_is_graph_network", False))


def check_functional(model: Any, caller: str) -> None:
    """Raises ConversionError for anything but a functional model; names the caller."""
    if not isinstance(model, tf.keras.Model) or not is_functional(model):
        named = f" {model.name!r}" if isinstance(model, tf.keras.Model) else ""
        raise ConversionError(
            f"{caller}: expected a functional Keras model, such as larq_groupnet.build returns, or "
            "a Sequential one with a known input shape, because other models do not show which "
            f"layer reads what. Received: {type(model).__name__}{named}. To load a file: "
            "larq_groupnet.load_model(file)"
        )


def check_one_in_one_out(model: Any, caller: str) -> None:
    """Raises ConversionError for anything but a functional model with one input and one output."""
    check_functional(model, caller)
    if not isinstance(model.input_shape, tuple) or isinstance(model.output, list | tuple | dict):
        raise ConversionError(
            f"{caller}: expected a model with one input and one output. Received: "
            f"input_shape={model.input_shape}, output_shape={model.output_shape}"
        )


def nodes_of(model: tf.keras.Model) -> list[Any]:
    """The calls of a functional model's layers, in order of computation."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def copied(layer: tf.keras.layers.Layer, **changes: Any) -> tf.keras.layers.Layer:
    """A new layer with the same configuration, except for the changes, without weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def applied(
    layer: tf.keras.layers.Layer, inputs: Any, weights: list[Any] | None = None, **changes: Any
) -> tf.Tensor:
    """The output of a copy of the layer with other weights or another configuration."""
    copy = copied(layer, **changes)
    outputs = copy(inputs)
    copy.set_weights(layer.get_weights() if weights is None else weights)
    return outputs


def unshared(model: tf.keras.Model) -> tf.keras.Model:
    """Rebuilds a model with a separate layer, under its own name, for each call of a layer.

    In a file, a shared layer becomes one operation per call, each with its own input, and the
    layers of a nested model are inlined.

    Args:
        model: A functional model, such as one with `shared_shortcut`.

    Returns:
        A model with copies of the weights. The first layer with a name keeps it, the second gets
        `NAME_2`. A model that is called with `training=True` stays nested. `model` itself if it
        calls no layer with weights and no quantizer twice and has no nested model.
    """
    if not is_functional(model):
        return model
    nodes = nodes_of(model)
    calls = Counter(id(node.layer) for node in nodes)
    if not any(_stands_outside(x) or _is_shared(x.layer, calls[id(x.layer)]) for x in nodes):
        return model
    values: dict[int, tf.Tensor] = {}
    _unshare(model, values, {module.name: False for module in model.submodules})
    replaced = [
        tf.nest.map_structure(lambda x: values[id(x)], tensors)
        for tensors in (model.input, model.output)
    ]
    return tf.keras.Model(*replaced, name=model.name)


def _unshare(model: tf.keras.Model, values: dict[int, tf.Tensor], given: dict[str, bool]) -> None:
    """Adds to `values`: id of each tensor of the model -> the new tensor.

    Args:
        model: The model, or one inside it, whose inputs are in `values`.
        values: See above.
        given: Name of a layer -> True if a new layer has it.
    """
    copies: dict[int, tf.keras.layers.Layer] = {}
    calls: Counter[int] = Counter()
    for node in nodes_of(model):
        layer, old = node.layer, tf.nest.flatten(node.outputs)
        if all(id(x) in values for x in old):
            continue  # The input of a nested model.
        if _stands_outside(node):
            # A model with several inputs may receive them by name, in another order.
            given_to_it = layer._flatten_to_reference_inputs(node.call_args[0])
            pairs = zip(layer.inputs, given_to_it, strict=True)
            inside = {id(own): values[id(x)] for own, x in pairs}
            _unshare(layer, inside, given)
            new = [inside[id(x)] for x in layer.outputs]
        else:
            calls[id(layer)] += 1
            if calls[id(layer)] == 1 or _is_shared(layer, calls[id(layer)]):
                name = _free(layer.name, given)
                # A user's layer may not accept a name.
                changes = {} if name == layer.name else {"name": name}
                copies[id(layer)] = copied(layer, **changes)
            copy = copies[id(layer)]
            args, kwargs = tf.nest.map_structure(
                lambda x: values.get(id(x), x), (node.call_args, node.call_kwargs)
            )
            new = tf.nest.flatten(copy.output if node.is_input else copy(*args, **kwargs))
            copy.set_weights(layer.get_weights())
        values.update(zip(map(id, old), new, strict=True))


def _stands_outside(node: Any) -> bool:
    """True for the call of a nested model with its inputs and nothing else."""
    tensors = {id(x) for x in node.keras_inputs}
    more = [x for x in tf.nest.flatten((node.call_args, node.call_kwargs)) if id(x) not in tensors]
    return (
        is_functional(node.layer)
        and len(node.layer.inputs) == len(node.keras_inputs)
        and not any(more)
    )


def _free(name: str, given: dict[str, bool]) -> str:
    """The name itself for the first layer that asks for it, else the next free numbered name."""
    if given.get(name):
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        name = next(x for x in numbered if x not in given)
    given[name] = True
    return name


def _is_shared(layer: tf.keras.layers.Layer, calls: int) -> bool:
    """True for a repeated call of a layer that a file holds once per call."""
    has_operation = bool(layer.weights) or isinstance(layer, lq.quantizers.Quantizer)
    return calls > 1 and has_operation and not isinstance(layer, tf.keras.Model)
