"""The real-valued ResNet-18 that Group-Net approximates, under the same trainer.

Paper: He et al., CVPR 2016.

Expected on digits (a quarter of the width, 16 x 16 pixels): test accuracy 0.981, converted
0.981 (measured, one run, seed 0, 359 images).
Cost: 26 s of CPU time, conversion and evaluation included.

On ImageNet the Group-Net paper reports 69.7 % top-1; not repeated here.

    python train.py --model resnet18
    python train.py --model resnet18 --dataset imagenet2012
"""

from larq_groupnet.presets import resnet
from larq_groupnet.recipes.published import digits, imagenet

NAME = "resnet18"
DIGITS = resnet("resnet18", (16, 16, 1), num_classes=10, width=0.25)
IMAGENET = resnet("resnet18")

RECIPES = (digits(NAME, DIGITS), imagenet(NAME, IMAGENET))
