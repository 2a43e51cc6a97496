"""Group-Net for dense semantic prediction, on `digit_scenes`, CamVid and VOC 2012.

Paper: Zhuang et al., CVPR 2019, where segmentation is trained on VOC 2012 from an ImageNet
backbone.

`digit_scenes`, the default, trains three bases at a quarter of the width from random weights on
96 x 96 scenes. Phase 1 trains real kernels and tanh. Phase 2 trains the binary network from these
weights.

Expected: test mIoU 0.731, converted 0.731, the same class for 99.95 % of the pixels (measured, one
run, seed 0). A few channels never fire in training, so their normalisation multiplies by 300,
which magnifies the rounding of LCE's float32 sums. `--set batch_norm_epsilon=1e-3` would limit the
factor to 32; this is not measured.
Cost: 17 minutes of CPU time on a quiet machine, 23 on a busy one.

`voc2012_aug` (VOC with SBD) and `voc2012` are the authors' recipe, corrected: 50 binary epochs in
batches of 16 with Adam at 1e-4 (1e-3 for the head), falling to 0 with power 0.9; weight decay 1e-4
in the gradient of real kernels; images of 520 pixels scaled by 0.5 to 2, crops of 480, flips.
`voc2012_released` is the recipe of their released code, with its mistakes; `docs/segmentation.md`
compares the two line by line. All start from the binary ImageNet backbone registered as
`imagenet`, or from the weights that --start_from names. The paper reports 65.1 % mIoU on VOC's
validation images with ResNet-18 and FCN-32s, 67.7 % with FCN-16s (K=5, secondary source); not
reproduced here, because it needs GPUs.

`camvid` trains on CamVid alone, from random weights, at a quarter of the width, with two bases,
real shortcuts, class weights by the root of median frequency, and crops of 240 x 320.
Expected: test mIoU of the 11 classes 0.534 at the images' own size, converted 0.533, the same class
for 99.76 % of the pixels (measured, one run, seed 0): the weights `camvid`. Validation mIoU
rose until the end, to 0.621. With binary shortcuts, `fcn32s` and a backbone that started from
CIFAR-10 weights, test mIoU was 0.430 after 52 epochs and 0.471 after 52 more; with `fcn16s`,
colours changed by up to 0.4 and one cosine of 60 epochs, it was 0.391. Learning rates were compared
in short runs (docs/evidence.md); no other K or class weights were tried. Cost: about 105 minutes of
CPU time with `--mixed_precision mixed_bfloat16`, on processors that support it.

    python train.py --model groupnet_dsp
    python train.py --model groupnet_dsp --dataset camvid
    python train.py --model groupnet_dsp --dataset voc2012_aug --start_from runs/groupnet_resnet18
    python train.py --model groupnet_dsp --dataset voc2012_aug --set head=fcn16s
    python train.py --model groupnet_dsp --dataset voc2012_released
    python train.py --model groupnet_dsp --dataset voc2012_released --set atrous_rates=released_bpac
"""

import dataclasses

from larq_groupnet import GroupNetConfig
from larq_groupnet.recipes import Phase, Recipe

DIGIT_SCENES = Recipe(
    name="groupnet_dsp",
    dataset="digit_scenes",
    model=GroupNetConfig(
        layout="resnet18",
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
    batch_size=16,
    augmentation="colour",
    eval_scales=(1.0,),
)

VOC_AUG = Recipe(
    name="groupnet_dsp",
    dataset="voc2012_aug",
    model=GroupNetConfig(
        layout="resnet18",
        head="fcn32s",
        input_shape=(480, 480, 3),
        num_classes=21,
        num_bases=5,
        output_stride=8,
        atrous_rates="bpac",
        input_quantizer="approx_sign",
    ),
    phases=(
        Phase(
            "binary",
            epochs=50,
            learning_rate=1e-4,
            # The authors' 1e-8, scaled to our gradients, which are mean(|w|) times theirs.
            optimizer={"class_name": "adam", "config": {"epsilon": 1e-10}},
            binary=True,
            schedule="poly",
            warmup_epochs=0,
            weight_decay=1e-4,
            coupled_decay=True,
            head_factor=10.0,
        ),
    ),
    start_from="imagenet",
    batch_size=16,
    augmentation="segmentation",
    base_size=520,
    normalisation="imagenet",
    eval_scales=(1.0,),
)

VOC_RELEASED = dataclasses.replace(
    VOC_AUG,
    dataset="voc2012_released",
    model=VOC_AUG.model.replace(
        atrous_rates="released",
        padding="torch",
        shared_shortcut=True,
        spatial_dropout=True,
        align_corners=True,
    ),
    phases=(
        dataclasses.replace(
            VOC_AUG.phases[0],
            optimizer={"class_name": "adam", "config": {"epsilon": 1e-8}},
            decay_all=True,
        ),
    ),
    augmentation="segmentation_released",
    eval_crop=True,
)

# From random weights: first at a constant learning rate, then falling to 0.
CAMVID = Recipe(
    name="groupnet_dsp",
    dataset="camvid",
    model=GroupNetConfig(
        layout="resnet18",
        head="fcn16s",
        input_shape=(240, 320, 3),
        num_classes=11,
        num_bases=2,
        width=0.25,
        projection="real",
        stem_stride=2,
        output_stride=8,
        # 2-6 and 6-10 are meant for a feature map of 60 x 60; here it has 30 x 40.
        atrous_rates=(1, 1, "1-3", "2-6"),
    ),
    phases=(
        Phase("binary", epochs=60, learning_rate=3e-3, binary=True, schedule="constant"),
        Phase("decay", epochs=50, learning_rate=3e-3, binary=True, warmup_epochs=0),
    ),
    batch_size=8,
    augmentation="segmentation",
    base_size=480,
    class_weights="root_median_frequency",
    eval_scales=(1.0,),
)

VOC = dataclasses.replace(VOC_AUG, dataset="voc2012")

RECIPES = (DIGIT_SCENES, CAMVID, VOC_AUG, VOC, VOC_RELEASED)

SEARCH = {
    "digit_scenes": {
        "num_bases": (1, 2, 3, 4, 5, 6, 7, 8),
        "decomposition": ("gated", "group", "layer"),
        "gate": ("block", "base"),
        "aggregation": ("scales", "mean"),
        "shortcut": ("conv", "block"),
        "width": (0.125, 0.25, 0.5),
        "atrous_rates": ((1, 1, 1, 1), (1, 1, 2, 4), (1, 1, "1-3", "2-4"), (1, 1, "1-4", "1-6")),
        "learning_rate": (1e-3, 3e-3, 1e-2),
        "schedule": ("cosine", "poly"),
    }
}
