"""Where TensorFlow computes, and so which of two equal ways to compute is the faster one."""

from __future__ import annotations

import tensorflow as tf


def only_cpus() -> bool:
    """True if TensorFlow sees no accelerator, so that operations tuned on a CPU are used.

    On a GPU or a TPU the plain operations are used, which their libraries are made for: a gather of
    patches takes memory there, and a choice by a mask costs nothing.
    """
    return all(device.device_type == "CPU" for device in tf.config.get_visible_devices())
