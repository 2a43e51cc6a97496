"""RandAugment's changes against Pillow's; the seed determines everything."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from larq_groupnet.data import augment
from larq_groupnet.data import rand_augment as ra

RNG = np.random.RandomState(0)
SMOOTH = np.kron(RNG.randint(20, 200, (8, 8, 3)), np.ones((5, 5, 1))).astype("u1")
NOISE = RNG.randint(0, 256, (40, 40, 3)).astype("u1")
PICTURES = [SMOOTH, (SMOOTH // 2 + NOISE // 4).astype("u1")]
PILLOW = {
    ("autocontrast", 1): ImageOps.autocontrast,
    ("equalize", 1): ImageOps.equalize,
    ("posterize", 1): lambda image: ImageOps.posterize(image, 4),
    ("solarize", 1): lambda image: ImageOps.solarize(image, 0),
    ("colour", 1): lambda image: ImageEnhance.Color(image).enhance(1.9),
    ("colour", -1): lambda image: ImageEnhance.Color(image).enhance(0.1),
    ("contrast", 1): lambda image: ImageEnhance.Contrast(image).enhance(1.9),
    ("brightness", -1): lambda image: ImageEnhance.Brightness(image).enhance(0.1),
    ("sharpness", 1): lambda image: ImageEnhance.Sharpness(image).enhance(1.9),
    ("rotate", 1): lambda image: image.rotate(
        30, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
    ),
    ("shift_x", 1): lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 18, 0, 1, 0), fillcolor=(128, 128, 128)
    ),
    ("shift_y", -1): lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -18), fillcolor=(128, 128, 128)
    ),
}


@pytest.mark.parametrize(("change", "sign"), PILLOW)
def test_change_is_pillows(change, sign):
    for picture in PICTURES:
        image = tf.constant(picture, tf.float32)
        found = ra.CHANGES[change](image, tf.constant(1.0), tf.constant(float(sign)))
        expected = np.asarray(PILLOW[change, sign](Image.fromarray(picture))).astype("f4")
        difference = np.abs(np.clip(found.numpy(), 0, 255) - expected)
        # Pillow rounds, and interpolates with fewer bits.
        assert np.mean(difference <= 2.0) > (0.9 if change == "rotate" else 0.999)


def test_shear_leaves_the_centre_and_moves_the_rest():
    image = np.zeros((21, 21, 1), "f4")
    image[[10, 0], 10] = 255
    sheared = ra.CHANGES["shear_x"](tf.constant(image), tf.constant(1.0), tf.constant(1.0))[..., 0]
    assert sheared[10, 10] == 255
    assert np.argmax(sheared[0]) == 13


def test_one_channel_is_changed_as_three_are():
    for name, change in ra.CHANGES.items():
        image = tf.constant(PICTURES[1][..., :1], tf.float32)
        three = tf.repeat(image, 3, -1)
        level, sign = tf.constant(0.7), tf.constant(1.0)
        one, all_three = change(image, level, sign), change(three, level, sign)
        np.testing.assert_allclose(tf.repeat(one, 3, -1), all_three, atol=2, err_msg=name)


def test_seed_says_everything_and_each_change_is_drawn():
    plain = tf.constant(PICTURES[0], tf.float32)
    function = tf.function(ra.rand_augment(augment.unchanged, 1, 9))

    def draw(number):
        seed = tf.constant([3, number], tf.int64)
        return function(plain, tf.constant(5), (40, 40), seed)

    first, label = draw(7)
    assert label == 5
    np.testing.assert_array_equal(first, draw(7)[0])
    seen = {draw(number)[0].numpy().tobytes() for number in range(120)}
    # There are 14 changes: one does nothing, autocontrast may do nothing, three ignore the sign.
    assert len(seen) >= 20
    for pixels in seen:
        values = np.frombuffer(pixels, "f4")
        assert values.min() >= 0 and values.max() <= 255
