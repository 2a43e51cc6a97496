"""The ResNet-20 of the CIFAR experiments (He et al., 2016): three stages, narrow; and a model."""

from larq_groupnet.family import build_model, model
from larq_groupnet.network.kinds import Conv, layout


@layout("resnet20", blocks=(3, 3, 3), channels=(16, 32, 64))
def two_by_two(filters, stride):
    return [Conv(filters, 3, stride), Conv(filters, 3)]


@model(
    "groupnet_resnet20",
    fixed={"layout": "resnet20"},
    input_shape=(32, 32, 3),
    num_classes=10,
    num_bases=3,
    stem_stride=1,
    output_stride=4,
)
def GroupNetResNet20(**options):
    """Group-Net for CIFAR."""
    return build_model("groupnet_resnet20", options)
