"""The models as larq-zoo's model factories, for zookeeper tasks. Only this module needs larq-zoo.

`model = ComponentField(GroupNetResNet18Factory)` puts a model into a task. Every argument of the
model is a field of its factory, so `model.num_bases=3` on the command line of the task
sets K. `include_top=False` gives the last aggregate.
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
        f"larq_groupnet.factories needs larq-zoo and what it imports ({error}): run "
        "`pip install --no-deps -r requirements-zoo.txt`."
    ) from None


class _Factory(ModelFactory):
    """What the factories share.

    Attributes:
        model_name: Name of the model in `get_model`.
        weights: Name of a registered set, `str` or `Path` of a weights file, or `None`.
        input_tensor: Keras tensor to read from; larq-zoo's own type of it knows none of tf_keras.
    """

    model_name: str
    weights: str | Path | None = Field(None)
    input_tensor: Any = Field(None)

    def build(self) -> tf.keras.Model:
        """The model, given the fields that were configured."""
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


def _with_fields(model: str) -> Any:
    """A `_Factory` with a `Field` for each argument of a model that `_Factory` does not have."""
    types = typing.get_type_hints(GroupNetConfig)
    own = {"input_shape", "input_tensor", "weights", "include_top", "num_classes"}
    defaults = {k: v for k, v in MODELS[model].arguments.items() if k not in own}
    annotations = {k: types[k] if v is not None else types[k] | None for k, v in defaults.items()}
    fields = {name: Field(default) for name, default in defaults.items()}
    return type("_WithFields", (_Factory,), {"__annotations__": annotations, **fields})


_Classifier: Any = _with_fields("groupnet_resnet18")
_Segmentation: Any = _with_fields("groupnet_dsp")
_BiReal: Any = _with_fields("birealnet18")
_Real: Any = _with_fields("resnet18")


@factory
class GroupNetResNet18Factory(_Classifier):
    """Builds `larq_groupnet.GroupNetResNet18`, with its arguments as fields."""

    model_name = "groupnet_resnet18"


@factory
class GroupNetResNet34Factory(_Classifier):
    """Builds `larq_groupnet.GroupNetResNet34`, with its arguments as fields."""

    model_name = "groupnet_resnet34"


@factory
class GroupNetResNet50Factory(_Classifier):
    """Builds `larq_groupnet.GroupNetResNet50`, with its arguments as fields."""

    model_name = "groupnet_resnet50"


@factory
class GroupNetDSPFactory(_Segmentation):
    """Builds `larq_groupnet.GroupNetDSP`, with its arguments as fields."""

    model_name = "groupnet_dsp"


@factory
class BiRealNet18Factory(_BiReal):
    """Builds `larq_groupnet.BiRealNet18`, with its arguments as fields."""

    model_name = "birealnet18"


@factory
class ResNet18Factory(_Real):
    """Builds `larq_groupnet.ResNet18`, with its arguments as fields."""

    model_name = "resnet18"
