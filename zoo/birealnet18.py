"""One binary branch with a shortcut around every convolution: Group-Net at K=1.

Paper: Liu et al., ECCV 2018, for the wiring; Zhuang et al., CVPR 2019, for the rest.

Expected on digits (a quarter of the width, 16 x 16 pixels): test accuracy 0.933, converted
0.939 (measured, one run, seed 0, 359 images).
Cost: 54 s of CPU time, conversion and evaluation included.

On ImageNet the Group-Net paper reports 55.6 % top-1 at K=1; not repeated here.

    python train.py --model birealnet18
    python train.py --model birealnet18 --dataset imagenet2012
"""

from larq_groupnet.presets import birealnet
from larq_groupnet.recipes.published import digits, imagenet

NAME = "birealnet18"
DIGITS = birealnet("resnet18", (16, 16, 1), num_classes=10, width=0.25)
IMAGENET = birealnet("resnet18")

RECIPES = (digits(NAME, DIGITS), imagenet(NAME, IMAGENET))
