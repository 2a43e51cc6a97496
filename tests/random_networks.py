"""Small networks drawn from the whole space of options."""

import numpy as np

from larq_groupnet import ConfigError, GroupNetConfig


def random_config(rng: np.random.RandomState) -> GroupNetConfig:
    """A configuration with few channels and blocks, built in a second or two."""

    def one(*choices):
        return choices[rng.randint(len(choices))]

    while True:
        decomposition = one("gated", "group", "layer", "none")
        real = decomposition == "none"
        head = one("classifier", None, "fcn32s", "fcn16s", "deeplabv3")
        stem_stride = one(1, 2, 4)
        bases = one(1, 2, 3, tuple(int(k) for k in rng.randint(1, 4, 4)))
        size = int(one(16, 24, 32)) * (stem_stride if stem_stride < 4 else 2)
        options = {
            "layout": one("resnet18", "resnet50"),
            "stage_blocks": tuple(int(n) for n in rng.randint(1, 3, 4)),
            "input_shape": (size, int(one(size, 2 * size)), int(one(1, 3))),
            "num_classes": int(rng.randint(2, 7)),
            "head": head,
            "num_bases": 1 if real else bases,
            "width": float(one(0.0625, 0.125)),
            "decomposition": decomposition,
            "blocks_per_group": int(one(1, 2)) if decomposition == "group" else 1,
            "gate": one("block", "base") if decomposition == "gated" else "block",
            "aggregation": one("scales", "mean"),
            "first_base_sums": bool(decomposition == "gated" and rng.rand() < 0.2),
            "shortcut": one("conv", "block"),
            "stem_stride": stem_stride,
            "stem_bias": bool(rng.rand() < 0.3),
            "output_stride": stem_stride * int(one(2, 4, 8)),
            "padding": "same" if real else one("same", "torch"),
            "binary": False if real else one(True, True, True, "activations", False),
            "input_quantizer": one("ste_sign", "approx_sign"),
        }
        try:
            return GroupNetConfig(**options)
        except ConfigError:
            continue
