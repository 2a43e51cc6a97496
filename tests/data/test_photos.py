"""Photos: letterbox, an augmentation that keeps the aspect ratio, small copies read once."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_groupnet.data import VOID, augment
from larq_groupnet.data.copies import Copies
from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.reading import Reading

SIZES = ((60, 80), (80, 60), (48, 48), (40, 90))


@pytest.fixture
def masks(tmp_path):
    """A dataset of photos of several sizes, red where the mask is 1."""
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(12):
        height, width = SIZES[number % len(SIZES)]
        mask = np.zeros((height, width), "u1")
        mask[height // 4 : height // 2, width // 3 : width // 2] = 1
        pixels = np.dstack([255 * mask, 40 + 0 * mask, 40 + 0 * mask])
        Image.fromarray(pixels).save(tmp_path / "set/images" / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / "set/masks" / f"{number}.png")
    (tmp_path / "set/classes.txt").write_text("background\npart\n")
    return f"folder:{tmp_path / 'set'}"


def test_letterbox_scales_both_sides_alike_and_fills_with_the_mean():
    image = np.full((40, 90, 3), 255, "u1")
    found = Reading((32, 32), letterbox=True)(image).numpy()
    assert found.shape == (32, 32, 3)
    np.testing.assert_allclose(found[:14], 1, atol=1e-5)  # 40 * 32 / 90 is 14.2.
    assert (found[14:] == 0).all()


def test_maps_are_letterboxed_as_their_images_when_validated(masks, tmp_path):
    data = Pipeline(prepare(masks, tmp_path), Reading((32, 32), letterbox=True), 4)
    images, truths = next(iter(data.eval_batches("train")))
    images, truths = images.numpy(), truths.numpy()
    assert truths.shape == (4, 32, 32)
    padded = (images == 0).all(-1)
    assert padded.any()
    np.testing.assert_array_equal(truths == VOID, padded)
    red = images[..., 0] > 0
    assert ((truths == 1) == red)[~padded].mean() > 0.97  # Edges are rounded.


def test_photo_moves_map_and_image_together_and_fills_with_void():
    image = np.zeros((90, 120, 3), "f4")
    image[30:60, 40:80] = 255
    mask = (image[..., :1] > 0).astype("i4")
    areas, voids = [], []
    for number in range(8):
        found, truth = augment.photo.with_options(mean=0.0, colour_jitter=0.0)(
            tf.constant(image), tf.constant(mask), (64, 64), tf.constant([0, number])
        )
        found, truth = found.numpy().mean(-1), truth.numpy()[..., 0]
        outside = truth == VOID
        assert ((found > 127) == (truth == 1))[~outside].mean() > 0.97
        assert found[outside].mean() < 20
        areas.append((truth == 1).sum())
        voids.append(outside.mean())
    # 30 x 40 of 90 x 120 pixels, letterboxed into 64 x 64, is 341. Each side scales by 0.7 to 1.4.
    assert 0.4 * 341 < min(areas) < 341 < max(areas) < 2.1 * 341
    assert min(voids) < 0.25 < max(voids)


def test_training_reads_photos_once(masks, tmp_path):
    data = Pipeline(
        prepare(masks, tmp_path), Reading((32, 32)), 5, seed=3, augmentation=augment.photo
    )
    batches = iter(data.train_batches(2))
    first = [next(batches) for _ in range(4)]
    for file in (tmp_path / "set/images").iterdir():
        file.unlink()
    again = [batch for batch, _ in zip(data.train_batches(2), range(4), strict=False)]
    for (one, truth), (other, same) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(truth, same)


def test_copies_are_no_larger_than_asked_for_and_keep_their_maps(masks, tmp_path):
    copies = Copies(prepare(masks, tmp_path), 64)
    examples = copies.examples("train")
    shapes = set()
    for handle in examples.stored():
        image, target = examples.fetch(handle)
        image, target = copies.decode_image(image), copies.decode_target(target)
        assert image.shape[:2] == target.shape[:2]
        shapes.add(tuple(image.shape[:2]))
    assert shapes <= {(48, 64), (64, 48), (48, 48), (28, 64)} and len(shapes) > 2
