"""The real-valued ResNet-18 that Group-Net approximates, with the same training code.

Paper: He et al., CVPR 2016.

Expected on digits (a quarter of the width, 16 x 16 pixels): test accuracy 0.981, converted
0.981 (measured, one run, seed 0, 359 images).
Cost: 26 s of CPU time, including conversion and evaluation.

Expected on CIFAR-10 (a quarter of the width): test accuracy 0.855, converted 0.855 (measured, one
run, seed 0, in mixed_bfloat16). Learning rate and stem are the best of short runs; see
docs/evidence.md.

On ImageNet the Group-Net paper reports 69.7 % top-1; not reproduced here.

    python train.py --model resnet18
    python train.py --model resnet18 --dataset cifar10 --mixed_precision mixed_bfloat16
    python train.py --model resnet18 --dataset imagenet2012
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.recipes import Phase, Recipe

DIGITS = Recipe(
    name="resnet18",
    dataset="digits",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(16, 16, 1),
        num_classes=10,
        num_bases=1,
        decomposition="none",
        binary=False,
        width=0.25,
        stem_stride=1,
        output_stride=8,
    ),
    phases=(Phase("real", epochs=5, learning_rate=3e-3, binary=False),),
    batch_size=32,
    augmentation="shift",
)

# The first phase of the authors' Group-Net, for comparison.
IMAGENET = Recipe(
    name="resnet18",
    dataset="imagenet2012",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(224, 224, 3),
        num_classes=1000,
        num_bases=1,
        decomposition="none",
        binary=False,
        stem_stride=4,
        output_stride=32,
    ),
    phases=(
        Phase(
            "real",
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
    ),
    batch_size=256,
    augmentation="imagenet",
    normalisation="imagenet",
    central_crop=224 / 256,
)

# The data and stem of groupnet_resnet18, for comparison.
CIFAR10 = Recipe(
    name="resnet18",
    dataset="cifar10",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(32, 32, 3),
        num_classes=10,
        num_bases=1,
        decomposition="none",
        binary=False,
        width=0.25,
        stem_stride=1,
        output_stride=8,
    ),
    phases=(Phase("real", epochs=20, learning_rate=1e-2, binary=False),),
    batch_size=128,
    augmentation="cifar",
)

RECIPES = (DIGITS, CIFAR10, IMAGENET)
