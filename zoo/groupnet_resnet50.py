"""Group-Net with the bottleneck layout of ResNet-50.

Paper: Zhuang et al., CVPR 2019.

Expected on digits (K=3, a quarter of the width, 16 x 16 pixels): test accuracy 0.833, converted
0.830 (measured, one run, seed 0, 359 images).
Cost: 428 s of CPU time, conversion and evaluation included.

On ImageNet the paper reports 69.5 % top-1 at K=5 (71.2 % with a shortcut around every
convolution, as recalled); not repeated here. The authors released no code for this network.

    python train.py --model groupnet_resnet50
    python train.py --model groupnet_resnet50 --dataset imagenet2012
"""

from larq_groupnet.presets import classifier
from larq_groupnet.recipes.published import CLASSIFIER_SEARCH, digits, imagenet

NAME = "groupnet_resnet50"
DIGITS = classifier("resnet50", (16, 16, 1), num_classes=10, width=0.25, num_bases=3)
IMAGENET = classifier("resnet50", input_quantizer="approx_sign")

RECIPES = (digits(NAME, DIGITS), imagenet(NAME, IMAGENET))
SEARCH = CLASSIFIER_SEARCH
