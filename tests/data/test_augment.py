"""Augmentations: what they preserve, and that the seed determines everything."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.data import AUGMENTATIONS, augment, images

ALL = dict(AUGMENTATIONS.items())
MASKS = augment.choices(["mask"])


def seed(*numbers):
    return tf.constant(numbers, tf.int64)


def example(height=40, width=56):
    """An image with one grey level per class, so that image and mask can be compared."""
    rows = np.arange(height)[:, None] // 8 % 3
    mask = np.broadcast_to(rows, (height, width))[..., None]
    return tf.constant(mask * 100.0 * np.ones(3), tf.float32), tf.constant(mask, tf.int32)


def test_augmentation_over_another_is_what_it_says_itself():
    def change(image, target, size, seed):
        return image, target

    change.part = "an attribute of the function's own"
    inner = augment.Augmentation(change, ("label",), detail=3.0)
    outer = augment.Augmentation(inner, ("mask",))
    assert (inner.part, outer.targets, outer.detail) == (None, ("mask",), 0.0)
    assert outer.function is inner and outer(1, 2, (8, 8), seed(0, 0)) == (1, 2)


@pytest.mark.parametrize("name", ALL)
def test_seed_says_everything_and_another_changes_it(name):
    image, mask = example()
    image += tf.random.stateless_uniform(image.shape, seed(0, 0), 0, 20)
    target = mask if name in MASKS else tf.constant(1)
    draws = [ALL[name](image, target, (32, 32), seed(*s)) for s in ((1, 2), (1, 2), (1, 3))]
    assert draws[0][0].shape == (32, 32, 3)
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert np.array_equal(draws[0][0], draws[2][0]) is (name == "none")


MEAN = (120.0, 110.0, 100.0)


@pytest.mark.parametrize("height", [20, 40, 200])
def test_image_and_mask_stay_together_and_padding_is_void(height):
    image, mask = example(height)
    found = set()
    for number in range(8):
        out, classes = augment.segmentation.with_options(mean=MEAN)(
            image, mask, (48, 48), seed(0, number)
        )
        assert classes.shape == (48, 48, 1)
        assert classes.dtype == tf.int32
        classes, out = classes.numpy()[..., 0], out.numpy()
        found |= set(np.unique(classes))
        np.testing.assert_allclose(out[classes == augment.VOID] - MEAN, 0, atol=1e-3)
        # Away from class borders, the grey level is the class's own.
        inner = np.ones_like(classes, bool)
        for axis in (0, 1):
            for step in range(-3, 4):
                inner &= np.roll(classes, step, axis) == classes
        for label in (0, 1, 2):
            where = inner & (classes == label)
            np.testing.assert_allclose(out[where], 100 * label, atol=12)
    assert found <= {0, 1, 2, augment.VOID}


@pytest.mark.parametrize(("base_size", "longer"), [(520, 520), (0, 480)])
def test_longer_side_is_half_to_twice_the_base_size(base_size, longer):
    """Pixels hold their column number, so the slope of a crop is the scale."""
    columns = np.broadcast_to(np.arange(256, dtype="float32")[:, None], (100, 256, 1))
    mask = tf.ones((100, 256, 1), tf.int32)
    change, scales, flips = (
        augment.segmentation.with_options(mean=255.0, base_size=base_size),
        [],
        0,
    )
    for number in range(60):
        out, classes = change(tf.constant(columns), mask, (480, 480), seed(1, number))
        row = out.numpy()[0, classes.numpy()[0, :, 0] == 1, 0]
        slope = np.median(np.diff(row))
        flips += int(slope < 0)
        scales.append(1 / abs(slope) * 256 / longer)
    assert 0.49 < min(scales) < 0.6
    assert 1.8 < max(scales) < 2.02
    assert 1.15 < np.mean(scales) < 1.35
    assert 15 <= flips <= 45


def test_released_crops_are_those_of_segmentation_but_padded_by_black_background():
    image, mask = example(20, 20)
    image, mask = image + 1, mask + 1
    clean = augment.segmentation.with_options(mean=MEAN, base_size=20)
    released = augment.segmentation_released.with_options(mean=MEAN, base_size=20)
    for number in range(4):
        ours, ours_mask = clean(image, mask, (48, 48), seed(0, number))
        theirs, theirs_mask = released(image, mask, (48, 48), seed(0, number))
        void = ours_mask.numpy()[..., 0] == augment.VOID
        assert 0 < void.mean() < 1
        assert not theirs.numpy()[void].any() and not theirs_mask.numpy()[void].any()
        np.testing.assert_array_equal(theirs_mask[~void], ours_mask[~void])
        np.testing.assert_allclose(theirs[~void], ours[~void], atol=1e-3)


@pytest.mark.parametrize("normalisation", ["symmetric", "imagenet"])
def test_model_reads_padding_as_zero(normalisation):
    image, mask = example(20, 20)
    mean = images.mean_colour(normalisation)
    change = augment.segmentation.with_options(mean=mean, base_size=20)
    out, classes = change(image, mask, (48, 48), seed(0, 0))
    read = images.normalise(out, normalisation).numpy()
    void = classes.numpy()[..., 0] == augment.VOID
    assert 0.2 < void.mean() < 1
    np.testing.assert_allclose(read[void], 0, atol=1e-6)


def test_crop_for_imagenet_covers_a_stated_share_of_the_area():
    """Pixels hold their coordinates, so a crop shows where it was taken."""
    rows, columns = np.mgrid[:100, :100].astype("float32")
    image = tf.stack([rows, columns, 0 * rows], -1)
    areas, flips = [], 0
    for number in range(60):
        out, label = augment.imagenet(image, tf.constant(7), (64, 64), seed(0, number))
        assert label == 7
        height, width = np.ptp(out[..., 0]) + 1, np.ptp(out[..., 1]) + 1
        areas.append(height * width / 1e4)
        assert 0.7 <= width / height <= 1.4
        flips += int(out[0, 0, 1] > out[0, -1, 1])
    assert 0.06 <= min(areas) < 0.3
    assert 0.7 < max(areas) <= 1.02
    assert 15 <= flips <= 45


@pytest.mark.parametrize("function", [augment.shift, augment.cifar])
def test_shift_moves_by_at_most_an_eighth(function):
    image = np.full((32, 32, 1), 128.0, "float32")
    image[16, 16] = 255
    places = []
    for number in range(50):
        out, _ = function(tf.constant(image), tf.constant(0), (32, 32), seed(0, number))
        places.append(np.unravel_index(np.argmax(out[..., 0]), (32, 32)))
    low, high = np.min(places, 0), np.max(places, 0)
    assert (low >= 11).all() and (high <= 20).all()
    assert (low <= 13).all() and (high >= 18).all()


def test_central_crop_is_the_centre_of_the_shorter_side():
    rows, columns = np.mgrid[:60, :100].astype("float32")
    crop = images.central_crop(tf.stack([rows, columns], -1), 0.5).numpy()
    assert crop.shape == (30, 30, 2)
    np.testing.assert_array_equal(crop[0, 0], (15, 35))


def test_part_of_a_jpeg_is_decoded_as_the_part_of_the_whole(tmp_path):
    """Grey, CMYK and WebP files too. Chroma differs a little at the border of the part."""
    from PIL import Image

    rows, columns = np.mgrid[:96, :128]
    pixels = np.stack([rows * 2, columns, 255 - rows - columns], -1).astype("u1")
    part = tf.constant([16, 24, 40, 50])
    for name, mode in (("a.jpg", "RGB"), ("b.jpg", "L"), ("c.jpg", "CMYK"), ("d.webp", "RGB")):
        path = str(tmp_path / name)
        Image.fromarray(pixels).convert(mode).save(path, quality=95)
        whole = images.read_image(path).numpy()
        found = images.decode_image(tf.io.read_file(path), part=lambda shape: part)
        assert found.shape == (40, 50, 3)
        difference = np.abs(found.numpy().astype(int) - whole[16:56, 24:74])
        assert difference.max() <= 8 and difference.mean() < 0.5, name


def test_shrinking_is_antialiased_and_enlarging_smooth():
    stripes = np.tile([0.0, 255.0], 64)[None, :, None] * np.ones((128, 1, 3))
    whole = augment.imagenet.change(tf.constant(stripes, tf.float32), 0, (32, 32), seed(0, 0))
    np.testing.assert_allclose(whole[0], 127.5, atol=1)
    ramp = np.arange(16.0)[None, :, None] * np.ones((16, 1, 1))
    wide, _ = augment.imagenet.change(tf.constant(ramp, tf.float32), 0, (64, 64), seed(0, 1))
    assert np.abs(np.diff(wide[0, :, 0])).max() < 0.3
