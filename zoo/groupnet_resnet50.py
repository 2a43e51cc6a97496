"""Group-Net with the bottleneck layout of ResNet-50.

Paper: Zhuang et al., CVPR 2019.

Expected on digits (K=3, a quarter of the width, 16 x 16 pixels): test accuracy 0.877, converted
0.877 (measured, one run, seed 0, 359 images).
Cost: 428 s of CPU time, including conversion and evaluation.

On ImageNet the paper reports 69.5 % top-1 at K=5 (71.2 % with a shortcut around every
convolution, as recalled); not reproduced here. The authors released no code for this network.

    python train.py --model groupnet_resnet50
    python train.py --model groupnet_resnet50 --dataset imagenet2012
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.config import search_values
from larq_groupnet.recipes import Phase, Recipe

DIGITS = Recipe(
    name="groupnet_resnet50",
    dataset="digits",
    model=GroupNetConfig(
        layout="resnet50",
        input_shape=(16, 16, 1),
        num_classes=10,
        num_bases=3,
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
    name="groupnet_resnet50",
    dataset="imagenet2012",
    model=GroupNetConfig(
        layout="resnet50",
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

RECIPES = (DIGITS, IMAGENET)

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
