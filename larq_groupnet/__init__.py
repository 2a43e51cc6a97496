"""Group-Net (Zhuang et al., CVPR 2019) in Keras and Larq: structured binary networks.

Importing this package is cheap: TensorFlow is loaded with the first model. It registers the TFDS
datasets `digits`, `digit_scenes`, `voc2012` and `voc2012_aug`.
"""

import os
from importlib import import_module
from typing import Any

from larq_groupnet._stack import check_stack

check_stack()
# TensorFlow reads this once, when it is loaded; a value that the user has set wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from larq_groupnet.config import BPAC_RATES, EQUAL_RATES, ConfigError, GroupNetConfig  # noqa: E402
from larq_groupnet.data import digit_scenes as _digit_scenes  # noqa: E402, F401
from larq_groupnet.data import digits as _digits  # noqa: E402, F401
from larq_groupnet.data import voc as _voc  # noqa: E402, F401
from larq_groupnet.network.complexity import complexity  # noqa: E402
from larq_groupnet.registry import get_model, list_models  # noqa: E402
from larq_groupnet.version import __version__  # noqa: E402

_LAZY = {
    "GroupNetDSP": "larq_groupnet.segmentation",
    "GroupNetResNet18": "larq_groupnet.classification",
    "GroupNetResNet34": "larq_groupnet.classification",
    "GroupNetResNet50": "larq_groupnet.classification",
    "build": "larq_groupnet.network.build",
    "copy_weights": "larq_groupnet.network.build",
    "convert": "larq_groupnet.deploy",
    "decode_predictions": "larq_groupnet.data.imagenet",
    "list_weights": "larq_groupnet.weights.registry",
    "preprocess_input": "larq_groupnet.data.imagenet",
}

__all__ = [
    "BPAC_RATES",
    "EQUAL_RATES",
    "ConfigError",
    "GroupNetConfig",
    "__version__",
    "complexity",
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
