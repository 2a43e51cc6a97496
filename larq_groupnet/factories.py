"""The models as larq-zoo model factories, for zookeeper tasks. Only this module needs larq-zoo.

`model = ComponentField(GroupNetResNet18Factory)` adds a model to a task. Every argument of the
model is a field of its factory, so `model.num_bases=3` on the task's command line sets K.
`include_top=False` gives the last aggregate.
"""

# No `from __future__ import annotations`: zookeeper checks values against the types themselves.
import typing
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.family import MODELS, get_model
from larq_groupnet.network.config import GroupNetConfig

try:
    from larq_zoo.core.model_factory import ModelFactory
    from zookeeper import Field, factory
except ModuleNotFoundError as error:
    raise ImportError(
        f"larq_groupnet.factories needs larq-zoo and its dependencies ({error}): run "
        "`pip install --no-deps -r requirements-zoo.txt`."
    ) from None


class _Factory(ModelFactory):
    """Fields and `build` of every factory.

    Attributes:
        model_name: Name of the model in `get_model`.
        weights: Name of a registered set, `str` or `Path` of a weights file, or `None`.
        input_tensor: Keras tensor to read from. `Any`, because larq-zoo's type rejects tf_keras.
    """

    model_name: str
    weights: str | Path | None = Field(None)
    input_tensor: Any = Field(None)

    def build(self) -> tf.keras.Model:
        """Builds the model with the configured fields."""
        defaults = MODELS[self.model_name].arguments
        configured = getattr(self, "__component_configured_field_values__")  # noqa: B009
        given = {name: getattr(self, name) for name in defaults}
        return get_model(
            self.model_name,
            **{
                name: value
                for name, value in given.items()
                if name in configured or value != defaults[name]
            },
        )


def _factory(name: str) -> Any:
    """Makes a model's factory, with a `Field` for each argument that `_Factory` lacks."""
    model, types = MODELS[name], typing.get_type_hints(GroupNetConfig)
    own = {"input_shape", "input_tensor", "weights", "include_top", "num_classes"}
    defaults = {k: v for k, v in model.arguments.items() if k not in own}
    builds = model.function.__name__
    members = {
        "__doc__": f"Builds `larq_groupnet.{builds}`, with its arguments as fields.",
        "__annotations__": {
            k: types[k] if v is not None else types[k] | None for k, v in defaults.items()
        },
        "model_name": name,
        **{k: Field(v) for k, v in defaults.items()},
    }
    return factory(type(f"{builds}Factory", (_Factory,), members))


GroupNetResNet18Factory = _factory("groupnet_resnet18")
"""Builds `larq_groupnet.GroupNetResNet18`."""
GroupNetResNet34Factory = _factory("groupnet_resnet34")
"""Builds `larq_groupnet.GroupNetResNet34`."""
GroupNetResNet50Factory = _factory("groupnet_resnet50")
"""Builds `larq_groupnet.GroupNetResNet50`."""
GroupNetDSPFactory = _factory("groupnet_dsp")
"""Builds `larq_groupnet.GroupNetDSP`."""
BiRealNet18Factory = _factory("birealnet18")
"""Builds `larq_groupnet.BiRealNet18`."""
ResNet18Factory = _factory("resnet18")
"""Builds `larq_groupnet.ResNet18`."""
