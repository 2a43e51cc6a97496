"""Group-Net for dense semantic prediction, on `digit_scenes`.

Paper: Zhuang et al., CVPR 2019, where segmentation is trained on VOC 2012 from an ImageNet
backbone. This recipe trains a quarter of the width, with three bases, from nothing on 96 x 96
scenes.

Phase 1 trains the network with real kernels and tanh, phase 2 the binary one from its weights.

Expected: test mIoU 0.716, converted 0.716 (measured, seed 0). With `--set num_bases=1` 0.485, as
the real-valued twin (`--set binary=false`) 0.824.
Cost: 9 minutes on 2 CPU cores (9 min 27 s from a clean clone, installation included).

    python train.py --model groupnet_dsp
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.training import Phase, Recipe

RECIPE = Recipe(
    name="groupnet_dsp",
    model=GroupNetConfig(
        head="fcn32s",
        input_shape=(96, 96, 3),
        num_classes=11,
        num_bases=3,
        width=0.25,
        output_stride=8,
        # 2-6 and 6-10 are meant for a feature map of 60 x 60; here it has 12 x 12.
        atrous_rates=(1, 1, "1-3", "2-4"),
    ),
    phases=(
        Phase("tanh", epochs=2, learning_rate=3e-3, binary=False),
        Phase("binary", epochs=10, learning_rate=3e-3, binary=True),
    ),
    dataset="digit_scenes",
)
