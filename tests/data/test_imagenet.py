"""ImageNet preprocessing against NumPy, evaluation and larq-zoo; class names from Keras' file."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.imagenet import decode_predictions, preprocess_input
from larq_groupnet.data.images import MEAN_RGB, STDDEV_RGB
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading


def random_image(*size):
    return np.random.RandomState(0).randint(0, 256, size).astype("uint8")


@pytest.mark.parametrize("size", [(256, 256), (300, 401), (517, 333)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_preprocessing_is_the_reading_of_the_evaluation(size, dtype):
    image = random_image(*size, 3)
    ours = preprocess_input(image.astype(dtype))
    assert isinstance(ours, np.ndarray) and ours.dtype == "float32"
    arrays = from_arrays("one", ([image] * 2, [0, 1]), ([image], [0]), class_names=["a", "b"])
    pipeline = Pipeline(arrays, Reading((224, 224), "imagenet", central_crop=224 / 256), 1)
    ((batch, _),) = pipeline.eval_batches("validation").as_numpy_iterator()
    np.testing.assert_array_equal(batch[0], ours)


def test_preprocessing_is_antialiased():
    """Without antialiasing, the bicubic kernel would turn stripes of one pixel into a pattern."""
    image = np.repeat(np.arange(1024)[None] % 2 * 255, 1024, 0)[..., None].repeat(3, -1)
    pixels = preprocess_input(image.astype("uint8")) * STDDEV_RGB + MEAN_RGB
    np.testing.assert_allclose(pixels[8:-8, 8:-8], 127.5, atol=3)


@pytest.mark.parametrize("size", [(256, 256), (224, 224), (240, 320)], ids=str)
def test_preprocessing_is_close_to_that_of_larq_zoo(size):
    """On a smooth image, because larq-zoo's bicubic interpolation samples other positions."""
    zoo = pytest.importorskip("larq_zoo")
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows * 0.7, columns * 0.6, (rows + columns) * 0.3], -1)
    difference = preprocess_input(image) - zoo.preprocess_input(image)
    assert np.abs(difference[2:-2, 2:-2]).max() < 0.03


def test_crop_of_256_pixels_is_its_middle():
    image = random_image(256, 300, 3)
    expected = image[16:240, 38:262] / 255.0
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(preprocess_input(image), expected, rtol=1e-5, atol=1e-5)


def test_images_of_any_size_are_read_in_a_pipeline():
    images = [random_image(40, 30, 3), random_image(32, 64, 3)]
    data = tf.data.Dataset.from_generator(
        lambda: images, output_signature=tf.TensorSpec(None, tf.uint8)
    ).map(preprocess_input)
    assert data.element_spec == tf.TensorSpec((224, 224, 3))
    for image, result in zip(images, data, strict=True):
        np.testing.assert_array_equal(preprocess_input(image), result)
    assert tf.is_tensor(preprocess_input(tf.constant(images[0])))


@pytest.mark.parametrize("size", [(1, 8, 8, 3), (8, 8), (8, 8, 4)], ids=str)
def test_only_one_coloured_image_is_preprocessed(size):
    with pytest.raises(ValueError, match=r"\(height, width, 3\).*Received: image\.shape=\("):
        preprocess_input(random_image(*size))


@pytest.fixture
def class_index(tmp_path, monkeypatch):
    """A class index where Keras looks for it, so that it is not downloaded."""
    named = tf.keras.applications.imagenet_utils.decode_predictions
    imagenet_utils = sys.modules[named.__module__]
    folder = tmp_path / ".keras" / "models"
    folder.mkdir(parents=True)
    index = {str(i): [f"n{i:08d}", f"class_{i}"] for i in range(1000)}
    (folder / "imagenet_class_index.json").write_text(json.dumps(index))
    monkeypatch.setenv("HOME", str(tmp_path))
    # Keras caches the index in the process, and checks the real file's hash.
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr(imagenet_utils.data_utils, "validate_file", lambda *_, **__: True)


@pytest.mark.parametrize("kind", [np.asarray, tf.constant, np.ndarray.tolist])
@pytest.mark.usefixtures("class_index")
def test_likeliest_classes_are_named(kind):
    scores = np.full((2, 1000), 0.0001)
    scores[0, [7, 999, 0]] = 0.5, 0.3, 0.2
    scores[1, [2, 3]] = 0.25, 0.75
    first, second = decode_predictions(kind(scores), top=3)
    assert [name for _, name, _ in first] == ["class_7", "class_999", "class_0"]
    assert [score for _, _, score in first] == [0.5, 0.3, 0.2]
    assert [identifier for identifier, _, _ in second[:2]] == ["n00000003", "n00000002"]
    assert [len(best) for best in decode_predictions(kind(scores))] == [5, 5]


@pytest.mark.parametrize("shape", [(1000,), (2, 10), (1, 1000, 1)], ids=str)
def test_only_1000_classes_have_names(shape):
    with pytest.raises(ValueError, match=r"\(batch, 1000\)\. Received: predictions\.shape=\("):
        decode_predictions(np.zeros(shape))
