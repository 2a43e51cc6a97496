"""Group-Net with the layout of ResNet-18.

Paper: Zhuang et al., CVPR 2019.

Expected on digits (K=5, a quarter of the width, 16 x 16 pixels): test accuracy 0.969, converted
0.967 (measured, one run, seed 0, 359 images).
Cost: 236 s of CPU time, conversion and evaluation included.

On ImageNet the paper reports 64.8 % top-1 at K=5 (67.0 % with a shortcut around every
convolution, as recalled); not repeated here.

    python train.py --model groupnet_resnet18
    python train.py --model groupnet_resnet18 --dataset imagenet2012
"""

from larq_groupnet.presets import classifier
from larq_groupnet.recipes.published import CLASSIFIER_SEARCH, digits, imagenet

NAME = "groupnet_resnet18"
DIGITS = classifier("resnet18", (16, 16, 1), num_classes=10, width=0.25)
IMAGENET = classifier("resnet18", input_quantizer="approx_sign")

RECIPES = (digits(NAME, DIGITS), imagenet(NAME, IMAGENET))
SEARCH = CLASSIFIER_SEARCH
