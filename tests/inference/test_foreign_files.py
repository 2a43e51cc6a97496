"""Converted files of other networks, without a description: read correctly, or refused."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_groupnet import cli
from larq_groupnet.deploy import convert
from larq_groupnet.errors import ConversionError
from larq_groupnet.inference.sources import SourceError, load_predictor

layers = tf.keras.layers


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of noise images."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.RandomState(0)
    for number in range(12):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.randint(0, 256, (8, 8, 3), "u1")).save(path)
    return root


def write(path, *stack, shape=(8, 8, 3), dtype="float32"):
    tf.keras.utils.set_random_seed(0)
    x = image = layers.Input(shape, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return convert(tf.keras.Model(image, x), path)


@pytest.mark.parametrize("softmax", [True, False])
def test_logits_become_probabilities_whatever_the_file_ends_in(softmax, photos, tmp_path):
    scores = [layers.Flatten(), layers.Dense(2)]
    file = write(tmp_path / "a.tflite", *scores, *([layers.Softmax()] if softmax else []))
    words = [str(file), "--normalisation=symmetric", f"--output={tmp_path / 'out'}"]
    assert cli.main(["predict", words[0], str(photos / "a"), *words[1:]]) == 0
    with (tmp_path / "out/predictions.csv").open() as table:
        shares = [float(row["probability"]) for row in csv.DictReader(table)]
    np.testing.assert_allclose(np.reshape(shares, (-1, 2)).sum(1), 1, atol=1e-5)
    assert cli.main(["evaluate", words[0], f"folder:{photos}", "--split=all", *words[1:]]) == 0
    results = json.loads((tmp_path / "out/evaluation.json").read_text())
    # Untrained layers on pixels of -1 to 1 are not confident enough for an error of 1.
    assert 0 < results["keras"]["calibration_error"] < 1
    assert results["preprocessing"]["normalisation"] == "symmetric"


@pytest.mark.parametrize(
    ("stack", "options", "error", "expected"),
    [
        ([layers.Conv2D(2, 3, 2, "same")], {}, SourceError, "a class map of that size"),
        ([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)],
         {"dtype": "uint8"}, ConversionError, "reads uint8 and normalises images itself"),
        ([layers.Flatten(), layers.Dense(2)],
         {"shape": (8, 8, 1)}, SourceError,
         "expected a normalisation, symmetric. Received: imagenet"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_fed_are_refused(stack, options, error, expected, tmp_path):
    file = write(tmp_path / "a.tflite", *stack, **options)
    with pytest.raises(error, match=expected):
        load_predictor(file, normalisation="imagenet")


def test_misspelt_normalisation_is_recognised(tmp_path):
    file = write(tmp_path / "a.tflite", layers.Flatten(), layers.Dense(2))
    with pytest.raises(SourceError, match=r"Received: symetric\. Did you mean 'symmetric'\?"):
        load_predictor(file, normalisation="symetric")
