"""Whole networks against LCE's interpreter: every decomposition and head, shipped weights, int8,
and networks of larq-zoo.

The float layers are the stock interpreter's, and it may round them otherwise than the older one
inside LCE does: hence 1e-6 of the largest value, and not the same bits.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# First, because it chooses TensorFlow's Keras.
import larq_groupnet  # isort: split

import flatbuffers
import larq_compute_engine as lce
import numpy as np
import pytest
import tensorflow as tf
from engines import Engine, reference
from larq_groupnet.deploy import fold, quantize
from larq_groupnet.deploy.export import to_tflite
from tensorflow.lite.python import schema_py_generated as schema

SMALL: dict[str, Any] = {
    "input_shape": (64, 64, 3),
    "num_classes": 7,
    "num_bases": 2,
    "width": 0.25,
    "stage_blocks": (1, 1, 1, 1),
}


def trained(model: tf.keras.Model) -> tf.keras.Model:
    """The model with normalisations that differ from each other, as after training."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def group_net(**options: Any) -> bytes:
    config = larq_groupnet.GroupNetConfig(**{**SMALL, **options})
    return bytes(to_tflite(fold(trained(larq_groupnet.build(config)))))


def int8() -> bytes:
    model = trained(larq_groupnet.build(larq_groupnet.GroupNetConfig(**SMALL)))
    data = np.random.default_rng(0).standard_normal((8, *SMALL["input_shape"]))
    return bytes(to_tflite(quantize(model, data.astype(np.float32))))


def zoo(name: str) -> bytes:
    import larq_zoo

    make = getattr(larq_zoo.sota, name, None) or getattr(larq_zoo.literature, name)
    model = trained(make(input_shape=(64, 64, 3), weights=None, num_classes=7))
    with warnings.catch_warnings():
        # LCE's converter falls back to another way for models without names that it can save.
        warnings.simplefilter("ignore", UserWarning)
        return bytes(lce.convert_keras_model(model))


NETWORKS: dict[str, Callable[[], bytes]] = {
    "digits": lambda: to_tflite(fold(larq_groupnet.GroupNetResNet18(weights="digits"))),
    "digit_scenes": lambda: to_tflite(fold(larq_groupnet.GroupNetDSP(weights="digit_scenes"))),
    "gated": group_net,
    "gated_by_base": lambda: group_net(gate="base", shortcut="block", aggregation="mean"),
    "layer": lambda: group_net(decomposition="layer"),
    "group": lambda: group_net(decomposition="group"),
    "torch": lambda: group_net(padding="torch"),
    "bottleneck": lambda: group_net(layout="resnet50"),
    "fcn32s": lambda: group_net(head="fcn32s"),
    "fcn16s": lambda: group_net(head="fcn16s"),
    "deeplabv3": lambda: group_net(head="deeplabv3", output_stride=8, atrous_rates="bpac"),
    "int8": int8,
    "quicknet": lambda: zoo("QuickNetSmall"),
    "birealnet": lambda: zoo("BiRealNet"),
}


def before_softmax(content: bytes) -> bytes:
    """The file with the input of its last softmax as the output, which is all of a small error."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    last = graph.operators[-1]
    if model.operatorCodes[last.opcodeIndex].builtinCode == schema.BuiltinOperator.SOFTMAX:
        graph.outputs = [last.inputs[0]]
        graph.operators = graph.operators[:-1]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("name", NETWORKS)
def test_network_equals_lce(name: str) -> None:
    content = before_softmax(NETWORKS[name]())
    shape = Engine(content).interpreter.get_input_details()[0]["shape"]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (want,) = reference(content, [x])
    for fuse in (False, True):
        (got,) = Engine(content, fuse=fuse, num_threads=2)([x])
        error = np.abs(got - want.reshape(got.shape)).max() / np.abs(want).max()
        assert error <= 1e-6, f"fuse={fuse}: {error}"
    (got,) = Engine(content, xnnpack=True)([x])
    same = got.argmax(-1) == want.reshape(got.shape).argmax(-1)
    assert same.mean() >= (1 if got.ndim == 2 else 0.999)
