"""Group-Net with the layout of ResNet-18.

Paper: Zhuang et al., CVPR 2019.

Expected on digits (K=5, a quarter of the width, 16 x 16 pixels): test accuracy 0.967, converted
0.975 (measured, one run, seed 0, 359 images).
Cost: 236 s of CPU time, including conversion and evaluation.

Expected on CIFAR-10 (half the width, one block in each stage): K=2 has a test accuracy of 0.8605,
converted 0.8598; K=3, grown from it, 0.8686 and 0.8693 (measured, seed 0, in mixed_bfloat16). A
real-valued network with 0.872 teaches them in the second phase. Of the four CIFAR-10 commands,
the first trains the teacher, the next two K=2, the last K=3. Learning rates, shortcuts, stem and
width were chosen in short runs; see docs/evidence.md.
Cost: about 90, 200, 40 and 120 minutes of CPU time.

On ImageNet the paper reports 64.8 % top-1 at K=5 (67.0 % with a shortcut around every
convolution, as recalled); not reproduced here.

    python train.py --model groupnet_resnet18
    python train.py --model resnet18 --dataset cifar10 --mixed_precision mixed_bfloat16 \
        --set width=0.5 --output_dir runs/wide
    python train.py --model groupnet_resnet18 --dataset cifar10 --mixed_precision mixed_bfloat16 \
        --set teacher=runs/wide --set decay.soft_targets=0.9 --output_dir runs/first
    python train.py --model groupnet_resnet18 --dataset cifar10 --mixed_precision mixed_bfloat16 \
        --set teacher=runs/wide --set decay.soft_targets=0.9 \
        --start_from runs/first/decay-last.h5 --set epochs=0,7 --set decay.learning_rate=6e-3 \
        --set batch_norm_momentum=0.99 --output_dir runs/second
    python train.py --model groupnet_resnet18 --dataset cifar10 --mixed_precision mixed_bfloat16 \
        --set teacher=runs/wide --set decay.soft_targets=0.9 \
        --start_from runs/second/decay-last.h5 --set num_bases=3 --set epochs=0,14 \
        --set decay.learning_rate=1e-2 --set batch_norm_momentum=0.99
    python train.py --model groupnet_resnet18 --dataset imagenet2012
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.config import search_values
from larq_groupnet.recipes import Phase, Recipe

DIGITS = Recipe(
    name="groupnet_resnet18",
    dataset="digits",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(16, 16, 1),
        num_classes=10,
        num_bases=5,
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
    name="groupnet_resnet18",
    dataset="imagenet2012",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(224, 224, 3),
        num_classes=1000,
        num_bases=5,
        input_quantizer="approx_sign",
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
            # The authors' 1e-8, scaled to our gradients, which are mean(|w|) times theirs.
            optimizer={"class_name": "adam", "config": {"epsilon": 1e-10}},
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

# No tanh phase: it gained nothing. The learning rate is constant, then falls to 0, so a run can be
# made longer without starting again.
CIFAR10 = Recipe(
    name="groupnet_resnet18",
    dataset="cifar10",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(32, 32, 3),
        num_classes=10,
        num_bases=2,
        width=0.5,
        stage_blocks=(1, 1, 1, 1),
        projection="real",
        stem_stride=1,
        output_stride=8,
    ),
    phases=(
        Phase("binary", epochs=15, learning_rate=2e-2, binary=True, schedule="constant"),
        Phase("decay", epochs=18, learning_rate=2e-2, binary=True, warmup_epochs=0),
    ),
    batch_size=128,
    augmentation="cifar",
)

RECIPES = (DIGITS, CIFAR10, IMAGENET)

SEARCH = {
    "digits": {
        **search_values(),  # K, decomposition, gate, aggregation, shortcut.
        "width": (0.125, 0.25, 0.5),
        "learning_rate": (1e-3, 3e-3, 1e-2),
        "schedule": ("cosine", "constant"),
    },
    "imagenet2012": {
        **search_values(),  # K, decomposition, gate, aggregation, shortcut.
        "width": (0.5, 0.75, 1.0),
        "tanh.learning_rate": (0.02, 0.05, 0.1),
        "binary.learning_rate": (2.5e-4, 5e-4, 1e-3),
        "schedule": ("steps", "cosine"),
    },
}
