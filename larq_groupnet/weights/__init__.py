"""Where weights come from: the registry, release files, the checkpoints of Group-Net's authors.

Importing this package does not import TensorFlow.
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "CheckpointError": "larq_groupnet.weights.checkpoint_files",
    "DownloadError": "larq_groupnet.weights.download",
    "Entry": "larq_groupnet.weights.registry",
    "FormatError": "larq_groupnet.weights.container",
    "Metric": "larq_groupnet.weights.metadata",
    "Metadata": "larq_groupnet.weights.metadata",
    "MismatchError": "larq_groupnet.weights.by_name",
    "RegistryError": "larq_groupnet.weights.registry",
    "copy_weights": "larq_groupnet.weights.by_name",
    "import_checkpoint": "larq_groupnet.weights.checkpoint",
    "list_weights": "larq_groupnet.weights.registry",
    "metadata_of": "larq_groupnet.weights.described",
    "register": "larq_groupnet.weights.registry",
}

__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'larq_groupnet.weights' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
