"""The models as larq-zoo's model factories, for zookeeper tasks. Only this module needs larq-zoo.

`model = ComponentField(GroupNetResNet18Factory)` puts a model into a task. Every option of
`GroupNetConfig` is a field of its factory, so `model.num_bases=3` on the command line of the task
sets K. `include_top=False` gives the last aggregate.
"""

# No `from __future__ import annotations`: zookeeper checks values against the types themselves.
import dataclasses
import typing
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet import presets
from larq_groupnet.config import GroupNetConfig
from larq_groupnet.registry import get_model

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
        input_tensor: Keras tensor to read from; larq-zoo's own type of it knows none of Keras 2.15.
    """

    model_name: str
    weights: str | Path | None = Field(None)
    input_tensor: Any = Field(None)

    def build(self) -> tf.keras.Model:
        """The model."""
        fields = {field.name for field in dataclasses.fields(GroupNetConfig)}
        fields = fields & set(self.__component_fields__) | {"input_tensor", "weights"}
        options = {name: getattr(self, name) for name in fields}
        if not self.include_top:
            options["head"] = None
        return get_model(self.model_name, **options)


def _with_fields(config: GroupNetConfig, *without: str, **changes: Any) -> Any:
    """A `_Factory` with a `Field` for each option of `GroupNetConfig`.

    Args:
        config: Gives the default values.
        *without: Options that are no fields.
        **changes: Other default values.
    """
    types = typing.get_type_hints(GroupNetConfig)
    defaults = {**dataclasses.asdict(config), **changes}
    # ModelFactory has these already, the head as include_top.
    for name in ("input_shape", "num_classes", "head", *without):
        del defaults[name]
    annotations = {k: types[k] if v is not None else types[k] | None for k, v in defaults.items()}
    fields = {name: Field(default) for name, default in defaults.items()}
    return type("_WithFields", (_Factory,), {"__annotations__": annotations, **fields})


# The model's name says the layout, the size of the images the strides, unless they are set.
_Classifier: Any = _with_fields(
    presets.classifier("resnet18"), "layout", stem_stride=None, output_stride=None
)
_Segmentation: Any = _with_fields(presets.dsp())


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
