"""Group-Net (Zhuang et al., CVPR 2019) in Keras and Larq: structured binary networks.

Importing this package is fast: TensorFlow loads with the first model. The import makes `tf.keras`
legacy Keras and registers the TFDS datasets `digits`, `digit_scenes`, `voc2012`,
`voc2012_aug` and `voc2012_released`.
"""

from importlib import import_module
from typing import Any

from larq_groupnet._stack import use_legacy_keras, when_imported

use_legacy_keras()
when_imported()

from larq_groupnet.errors import ConfigError  # noqa: E402
from larq_groupnet.family import (  # noqa: E402
    BiRealNet18,
    GroupNetDSP,
    GroupNetResNet18,
    GroupNetResNet34,
    GroupNetResNet50,
    ResNet18,
    build,
    get_config,
    get_model,
    list_models,
)
from larq_groupnet.network.atrous import BPAC_RATES, EQUAL_RATES  # noqa: E402
from larq_groupnet.network.complexity import complexity  # noqa: E402
from larq_groupnet.network.config import GroupNetConfig  # noqa: E402
from larq_groupnet.version import __version__  # noqa: E402

_LAZY = {
    "copy_weights": "larq_groupnet.weights.by_name",
    "convert": "larq_groupnet.deploy",
    "decode_predictions": "larq_groupnet.data.imagenet",
    "load_model": "larq_groupnet.runs.saved",
    "list_weights": "larq_groupnet.weights.registry",
    "preprocess_input": "larq_groupnet.data.imagenet",
}

__all__ = [
    "BPAC_RATES",
    "EQUAL_RATES",
    "BiRealNet18",
    "ConfigError",
    "GroupNetConfig",
    "GroupNetDSP",
    "GroupNetResNet18",
    "GroupNetResNet34",
    "GroupNetResNet50",
    "ResNet18",
    "__version__",
    "build",
    "complexity",
    "get_config",
    "get_model",
    "list_models",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'larq_groupnet' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
