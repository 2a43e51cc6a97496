"""Which devices TensorFlow uses: they decide which of two equal computations is faster."""

from __future__ import annotations

import tensorflow as tf


def only_cpus() -> bool:
    """True if TensorFlow sees no accelerator, so that operations tuned on a CPU are used.

    On a GPU or a TPU the plain operations are used, which their libraries are made for: gathering
    patches takes memory there, and `tf.where` costs nothing.
    """
    return all(device.device_type == "CPU" for device in tf.config.get_visible_devices())
