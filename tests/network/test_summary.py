"""`lq.models.summary` sees every binary convolution."""

import larq as lq
import pytest

from larq_groupnet import GroupNetConfig, build


def resnet18_macs_per_base():
    """By hand: 3x3 convolutions of a ResNet-18 at 224 x 224, then its 1x1 shortcuts."""
    main, shortcuts, before = 0, 0, 64
    for size, width in ((56, 64), (28, 128), (14, 256), (7, 512)):
        main += size**2 * 9 * width * (before + 3 * width)
        shortcuts += size**2 * before * width if before != width else 0
        before = width
    return main, shortcuts


@pytest.mark.parametrize("num_bases", [1, 2])
def test_macs_of_resnet18_are_those_counted_by_hand(num_bases):
    model = build(GroupNetConfig(num_bases=num_bases))
    profile = lq.models.ModelProfile(model)
    main, shortcuts = resnet18_macs_per_base()
    assert round(main / 1e9, 3) == 1.676
    assert profile.op_count("mac", 1) == num_bases * (main + shortcuts)
    assert profile.op_count("mac", 32) == 112**2 * 7**2 * 3 * 64 + 512 * 1000


def test_every_convolution_has_its_row(capsys):
    model = build(GroupNetConfig(num_bases=2, width=0.125, input_shape=(64, 64, 3)))
    lq.models.summary(model)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    binary = [row for row in rows if len(row) > 1 and "_base" in row[1] and "_conv" in row[1]]
    names = [row[1] for row in binary if row[1][-1].isdigit()]
    assert len(names) == 2 * 16
    assert {"stage1_block1_base1_conv1", "stage4_block2_base2_conv2"} <= set(names)
