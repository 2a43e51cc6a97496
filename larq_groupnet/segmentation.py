"""`GroupNetDSP`: Group-Net for dense semantic prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.classification import GroupNetResNet18
from larq_groupnet.network.build import build_named
from larq_groupnet.signatures import more_arguments_of


@more_arguments_of(GroupNetResNet18, without=("include_top", "atrous_rates"))
def GroupNetDSP(
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    num_classes: int = 21,
    backbone: str = "resnet18",
    head: str | None = "fcn32s",
    atrous: str | tuple[int | tuple[int, ...] | str, ...] | None = "bpac",
    output_stride: int = 8,
    stem_stride: int = 4,
    **options: Any,
) -> tf.keras.Model:
    """Group-Net with a dilated backbone and a head that scores each pixel.

    Source: Zhuang et al., CVPR 2019, section on semantic segmentation. "DSP" is this project's
    name for it.

    Args:
        input_shape: `(height, width, channels)`, `None` for (512, 512, 3); height and width must be
            multiples of the output stride, or `None` for any such size.
        input_tensor: Keras tensor to read from; its shape then is the input shape.
        weights: `None`; the name of a registered set such as `"imagenet"`; or the path of a
            weights file (`.h5`, `.safetensors`). Those of a classification model of the same
            backbone are loaded by name, whatever the rates and the output stride here; a warning
            lists the weights of the head, which are left out.
        num_classes: Classes including background.
        backbone: `"resnet18"`, `"resnet34"` or `"resnet50"`.
        head: `"fcn32s"`, `"fcn16s"` or `"deeplabv3"` (`larq_groupnet.network.heads`), or `None`
            for the last aggregate.
        atrous: `"bpac"` for a rate of its own for each base (binary parallel atrous convolution);
            `"equal"` for one rate for all bases of a stage; or a tuple with one entry per stage:
            an int, a tuple of one int per base, or an interval such as `"2-6"` over which to
            spread them; `None` for no dilation. Names are for the stages that keep stride 1: at
            output stride 8 the third (2 to 6, or 4) and the fourth (6 to 10, or 8); at 16 the
            fourth alone (2 to 6, or 4); at 32 none.
        output_stride: 8, 16 or 32: the size of the image over that of the last feature map.
        stem_stride: 4, or 2 or 1 for a stem that keeps more (then the output stride may be
            smaller, too).
        **options: The other arguments of `GroupNetResNet18`, such as `num_bases` or `width`, which
            `GroupNetConfig` explains.

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to logits
        `(batch, height, width, num_classes) float32`.

    Raises:
        ConfigError: If the options describe no network.
        TypeError: If an argument is unknown.
        FileNotFoundError: If `weights` is a path to no file.
        ValueError: If the weights are those of another backbone; lists the differences.
    """
    arguments = {**locals(), **options}
    del arguments["options"]
    return build_named("groupnet_dsp", **arguments)
