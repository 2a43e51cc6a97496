"""Your own photos: Group-Net on a folder with labels or with masks.

Any dataset without a recipe of its own uses these recipes, with the network of `--model`.
`larq_groupnet.recipes.own` sets classes, input size, stem, augmentation by K, class weights and
steps to fit the folder, and prints them before the first step. Options on the command line stay.

`folder:photos` holds one folder of photos per class, or `images/` and `masks/`. See
docs/photos-to-pi.md for all steps from the camera to the device.

An epoch is 100 steps, or more if a run would otherwise not see each photo ten times.

    larq-groupnet train --dataset folder:photos
    larq-groupnet train --dataset folder:photos --model birealnet18 --input_size 192,192
"""

from larq_groupnet import GroupNetConfig
from larq_groupnet.recipes import Phase, Recipe

LABELS = Recipe(
    name="groupnet_resnet18",
    dataset="folder:photos",
    model=GroupNetConfig(
        layout="resnet18",
        input_shape=(128, 128, 3),
        num_classes=2,
        num_bases=3,
        width=0.25,
        projection="real",
        stem_stride=4,
        output_stride=32,
    ),
    phases=(
        # It starts from weights that are already binary.
        Phase("tanh", epochs=0, learning_rate=3e-3, binary=False),
        Phase("binary", epochs=30, learning_rate=3e-3, binary=True),
    ),
    batch_size=16,
    steps_per_epoch=100,
    augmentation="photo",
    letterbox=True,
)

MASKS = Recipe(
    name="groupnet_dsp",
    dataset="folder:photos",
    model=GroupNetConfig(
        layout="resnet18",
        head="fcn32s",
        input_shape=(160, 160, 3),
        num_classes=2,
        num_bases=3,
        width=0.25,
        projection="real",
        stem_stride=2,
        output_stride=8,
        # 2-6 and 6-10 are meant for a feature map of 60 x 60; here it has 20 x 20.
        atrous_rates=(1, 1, "1-3", "2-4"),
    ),
    phases=(
        Phase("tanh", epochs=2, learning_rate=3e-3, binary=False),
        Phase("binary", epochs=10, learning_rate=3e-3, binary=True),
    ),
    batch_size=8,
    steps_per_epoch=100,
    augmentation="photo",
    letterbox=True,
)

RECIPES = (LABELS, MASKS)
