"""The models by name."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from larq_groupnet import presets
from larq_groupnet.config import GroupNetConfig
from larq_groupnet.errors import ConfigError
from larq_groupnet.hints import did_you_mean

_MODELS: dict[str, tuple[str, str, Callable[..., GroupNetConfig]]] = {
    "groupnet_dsp": ("larq_groupnet.segmentation", "GroupNetDSP", presets.dsp),
    **{
        f"groupnet_resnet{depth}": (
            "larq_groupnet.classification",
            f"GroupNetResNet{depth}",
            partial(presets.classifier, f"resnet{depth}"),
        )
        for depth in (18, 34, 50)
    },
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
    return model_function(name)(**options)


def model_function(name: str) -> Callable[..., Any]:
    """The function behind a name, such as `GroupNetDSP`."""
    module, function, _ = _find(name)
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def get_config(name: str, **options: Any) -> GroupNetConfig:
    """The configuration of `get_model(name, **options)`, without building it."""
    return _find(name)[2](**options)


def arguments(name: str) -> list[str]:
    """The arguments of `get_config(name)`, but for the options that `GroupNetConfig` has."""
    parameters = inspect.signature(_find(name)[2]).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


def _find(name: str) -> tuple[str, str, Callable[..., GroupNetConfig]]:
    if name not in _MODELS:
        hint = did_you_mean(name, _MODELS)
        raise ConfigError(f"unknown model {name!r}.{hint} Choices: {', '.join(_MODELS)}")
    return _MODELS[name]
