"""Group-Net with the layout of ResNet-34.

Paper: Zhuang et al., CVPR 2019.

Expected on digits (K=3, a quarter of the width, 16 x 16 pixels): test accuracy 0.964, converted
0.961 (measured, one run, seed 0, 359 images).
Cost: 251 s of CPU time, conversion and evaluation included.

On ImageNet the paper reports 68.5 % top-1 at K=5 (70.5 % with a shortcut around every
convolution, as recalled); not repeated here.

    python train.py --model groupnet_resnet34
    python train.py --model groupnet_resnet34 --dataset imagenet2012
"""

from larq_groupnet.presets import classifier
from larq_groupnet.recipes.published import CLASSIFIER_SEARCH, digits, imagenet

NAME = "groupnet_resnet34"
DIGITS = classifier("resnet34", (16, 16, 1), num_classes=10, width=0.25, num_bases=3)
IMAGENET = classifier("resnet34", input_quantizer="approx_sign")

RECIPES = (digits(NAME, DIGITS), imagenet(NAME, IMAGENET))
SEARCH = CLASSIFIER_SEARCH
