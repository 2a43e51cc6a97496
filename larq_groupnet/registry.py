"""The models by name."""

from __future__ import annotations

import fnmatch
from importlib import import_module
from typing import Any

from larq_groupnet.hints import did_you_mean

_MODELS = {
    "groupnet_dsp": ("larq_groupnet.segmentation", "GroupNetDSP"),
    "groupnet_resnet18": ("larq_groupnet.classification", "GroupNetResNet18"),
    "groupnet_resnet34": ("larq_groupnet.classification", "GroupNetResNet34"),
    "groupnet_resnet50": ("larq_groupnet.classification", "GroupNetResNet50"),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, such as `"*resnet*"`."""
    return fnmatch.filter(_MODELS, pattern)


def get_model(name: str, **options: Any) -> Any:
    """Builds a model by name.

    Args:
        name: One of `list_models()`.
        **options: Arguments of the model, such as `input_shape` or `num_bases`.

    Returns:
        A `tf.keras.Model`.

    Raises:
        ValueError: If there is no such model; names the nearest.
    """
    if name not in _MODELS:
        hint = did_you_mean(name, _MODELS)
        raise ValueError(f"unknown model {name!r}.{hint} Choices: {', '.join(_MODELS)}")
    module, function = _MODELS[name]
    return getattr(import_module(module), function)(**options)
