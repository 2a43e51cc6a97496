"""Where weights come from: the checkpoints of Group-Net's authors.

Importing this package does not import TensorFlow.
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "CheckpointError": "larq_groupnet.weights.checkpoint",
    "import_checkpoint": "larq_groupnet.weights.checkpoint",
}

__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'larq_groupnet.weights' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
