"""Windows, scales and mirror images with networks whose output is known for every pixel."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.data.reading import Reading
from larq_groupnet.inference.full_image import BATCH_SIZE, FullImage

SIZE = (12, 8)


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def by_pixel(images):
    """A network that looks at each pixel alone."""
    return np.stack([images[..., 0], -images[..., 1], images.sum(-1)], -1)


def by_place(images):
    """A network that depends on a pixel's place in the window, and on the window's mean."""
    count, height, width, _ = images.shape
    rows, columns = np.mgrid[:height, :width]
    mean = images.mean((1, 2, 3))[:, None, None]
    planes = [np.broadcast_to(p, (count, height, width)) for p in (0.1 * columns, 0.2 * rows, mean)]
    return np.stack(planes, -1).astype("float32")


def view_of(scales=(1.0,), **fields):
    return FullImage(Reading(SIZE, scales=scales, **fields))


def image_of(height, width, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3))
    return pixels.astype("float32")


@pytest.mark.parametrize("shape", [(12, 8), (5, 3), (13, 8), (1, 40), (31, 29)])
def test_every_pixel_gets_its_own_scores_whatever_the_size(shape):
    image = image_of(*shape)
    (scores,) = view_of().scores(by_pixel, [image])
    expected = softmax(by_pixel(image[None].astype("float64") / 127.5 - 1))[0]
    assert scores.shape == (*shape, 3)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_windows_count_by_the_distance_from_their_edge():
    image = image_of(21, 14)
    (scores,) = view_of().scores(by_place, [image])
    total, weights = np.zeros((21, 14, 3)), np.zeros((21, 14, 1))
    for top in (0, 6, 9):
        for left in (0, 4, 6):
            part = np.s_[top : top + 12, left : left + 8]
            window = softmax(by_place(image[part][None].astype("float64") / 127.5 - 1))[0]
            for row in range(12):
                for column in range(8):
                    weight = (1 + min(row, 11 - row)) * (1 + min(column, 7 - column))
                    total[top + row, left + column] += weight * window[row, column]
                    weights[top + row, left + column] += weight
    np.testing.assert_allclose(scores, total / weights, atol=1e-6)


def test_with_flip_a_mirrored_image_gets_mirrored_scores():
    image = image_of(12, 17)
    plain, flipped = view_of(), view_of(flip=True)
    (scores,) = flipped.scores(by_place, [image])
    (mirrored,) = flipped.scores(by_place, [image[:, ::-1]])
    np.testing.assert_allclose(scores, mirrored[:, ::-1], atol=1e-6)
    (once,) = plain.scores(by_place, [image])
    (other,) = plain.scores(by_place, [image[:, ::-1]])
    np.testing.assert_allclose(scores, (once + other[:, ::-1]) / 2, atol=1e-6)
    assert not np.allclose(scores, once, atol=1e-3)


def test_scales_are_averaged_at_the_size_of_the_image():
    image = image_of(20, 15)
    several = view_of(scales=(0.5, 1.0, 1.7), flip=True)
    each = [view_of(scales=(scale,), flip=True) for scale in several.reading.scales]
    (scores,) = several.scores(by_place, [image])
    single = [view.scores(by_place, [image])[0] for view in each]
    assert all(found.shape == (20, 15, 3) for found in single)
    np.testing.assert_allclose(scores, np.mean(single, 0), atol=1e-6)
    assert np.abs(single[0] - single[2]).max() > 0.01


def test_scale_shows_the_network_the_image_at_that_scale():
    image = image_of(6, 4)
    seen = []

    def network(images):
        seen.append(images)
        return by_pixel(images)

    view_of(scales=(2.0,)).scores(network, [image])
    expected = tf.image.resize(image, SIZE, antialias=True).numpy() / 127.5 - 1
    np.testing.assert_allclose(seen[0][0], expected, atol=1e-5)


def test_without_scales_the_whole_image_is_squeezed_into_the_network():
    image = np.full((30, 50, 3), 90, "float32")
    image[15:] = 200
    shapes = []

    def network(images):
        shapes.append(images.shape)
        return by_pixel(images)

    (scores,) = view_of(scales=()).scores(network, [image])
    assert shapes == [(1, *SIZE, 3)]
    expected = softmax(by_pixel(image[None] / 127.5 - 1))[0]
    np.testing.assert_allclose(scores[[0, -1]], expected[[0, -1]], atol=1e-5)


def test_padding_is_the_mean_colour():
    seen = []

    def network(images):
        seen.append(images)
        return by_pixel(images)

    view_of(normalisation="imagenet").scores(network, [np.full((5, 3, 3), 200, "float32")])
    np.testing.assert_array_equal(seen[0][0, 5:], 0)
    np.testing.assert_array_equal(seen[0][0, :, 3:], 0)
    assert seen[0][0, :5, :3].min() > 1


def test_images_share_batches_and_keep_their_order():
    images = [image_of(9 + seed % 3, 8 + seed, seed) for seed in range(12)]
    examples = [(image, np.full(image.shape[:2], seed)) for seed, image in enumerate(images)]
    view, sizes = view_of(flip=True), []

    def network(batch):
        sizes.append(len(batch))
        return by_place(batch)

    seen = 0
    for group, truths in view.groups(examples):
        for truth, scores in zip(truths, view.scores(network, group), strict=True):
            assert truth[0, 0] == seen
            alone = view.scores(by_place, [images[seen]])[0]
            np.testing.assert_allclose(scores, alone, atol=1e-6)
            seen += 1
    assert seen == len(images)
    assert max(sizes) == BATCH_SIZE > len(sizes)
