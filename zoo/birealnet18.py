"""Bi-Real Net: one binary branch, a shortcut around every convolution, real where it widens.

Paper: Liu et al., ECCV 2018.

Expected on digits (a quarter of the width, 16 x 16 pixels): test accuracy 0.978, converted
0.978 (measured, one run, seed 0, 359 images).

Expected on CIFAR-10 (a quarter of the width): test accuracy 0.740, converted 0.739 (measured, one
run, seed 0, in mixed_bfloat16, 26 minutes of CPU time). Its learning rate is the best of three in
short runs; see docs/evidence.md.

On ImageNet the Group-Net paper reports 55.6 % top-1 at K=1; not reproduced here.

    python train.py --model birealnet18
    python train.py --model birealnet18 --dataset cifar10
    python train.py --model birealnet18 --dataset imagenet2012
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.recipes import Phase, Recipe

DIGITS = Recipe(
    name="birealnet18",
    dataset="digits",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(16, 16, 1),
        num_classes=10,
        num_bases=1,
        decomposition="group",
        aggregation="mean",
        projection="real",
        relu=False,
        # Not "zero", as IMAGENET has it: LCE computes something else on 2 x 2 maps.
        padding="same",
        stem_pool="after_norm",
        input_quantizer="approx_sign",
        kernel_quantizer="magnitude_aware_sign",
        width=0.25,
        stem_stride=1,
        output_stride=8,
    ),
    phases=(
        Phase("tanh", epochs=5, learning_rate=3e-3, binary=False),
        Phase("binary", epochs=15, learning_rate=3e-3, binary=True),
    ),
    batch_size=32,
    augmentation="shift",
)

# The authors' released settings, except that normalisations, biases, gates and scales do not decay.
# (The paper, as recalled, trains 50 binary epochs with drops after 30 and 40.)
IMAGENET = Recipe(
    name="birealnet18",
    dataset="imagenet2012",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(224, 224, 3),
        num_classes=1000,
        num_bases=1,
        decomposition="group",
        aggregation="mean",
        projection="real",
        relu=False,
        padding="zero",
        stem_pool="after_norm",
        input_quantizer="approx_sign",
        kernel_quantizer="magnitude_aware_sign",
        stem_stride=4,
        output_stride=32,
    ),
    phases=(
        Phase(
            "tanh",
            epochs=40,
            learning_rate=0.05,
            binary=False,
            optimizer="sgd",
            schedule="steps",
            drops=(25 / 40, 35 / 40),
            warmup_epochs=0,
            weight_decay=1e-4,
            coupled_decay=True,
        ),
        Phase(
            "binary",
            epochs=40,
            learning_rate=5e-4,
            binary=True,
            optimizer="adam",
            schedule="steps",
            drops=(20 / 40, 30 / 40),
            warmup_epochs=0,
        ),
    ),
    batch_size=256,
    augmentation="imagenet",
    normalisation="imagenet",
    central_crop=224 / 256,
)

# The data and stem of groupnet_resnet18, for comparison.
CIFAR10 = Recipe(
    name="birealnet18",
    dataset="cifar10",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(32, 32, 3),
        num_classes=10,
        num_bases=1,
        decomposition="group",
        aggregation="mean",
        projection="real",
        relu=False,
        padding="same",
        stem_pool="after_norm",
        input_quantizer="approx_sign",
        kernel_quantizer="magnitude_aware_sign",
        width=0.25,
        stem_stride=1,
        output_stride=8,
    ),
    phases=(Phase("binary", epochs=16, learning_rate=2e-2, binary=True),),
    batch_size=128,
    augmentation="cifar",
)

RECIPES = (DIGITS, CIFAR10, IMAGENET)
