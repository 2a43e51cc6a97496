"""Tiny converted networks, made once a session with the main package."""

import json
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest

CLASSES = ["background", "cat", "dog", "cat and dog"]


def convert(path, head, shape, preprocessing, classes=CLASSES):
    """Converts an untrained network, its normalisations as if trained, with a description."""
    import tensorflow as tf
    from larq_groupnet import GroupNetConfig, build
    from larq_groupnet.deploy import fold
    from larq_groupnet.deploy.description import with_description
    from larq_groupnet.deploy.export import to_tflite

    tf.keras.utils.set_random_seed(0)
    model = build(
        GroupNetConfig(
            head=head,
            input_shape=shape,
            num_classes=len(classes),
            num_bases=2,
            width=0.125,
            stage_blocks=(1, 1, 1, 1),
            output_stride=8,
        )
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    description = {"classes": list(classes), "preprocessing": preprocessing}
    path.write_bytes(with_description(to_tflite(fold(model)), description))
    return path


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    """A classifier of colour images of 24 x 32."""
    preprocessing = {"normalisation": "imagenet", "central_crop": 0.75, "scales": [], "flip": False}
    path = tmp_path_factory.mktemp("networks") / "labels.tflite"
    return convert(path, "classifier", (24, 32, 3), preprocessing)


@pytest.fixture(scope="session")
def grey(tmp_path_factory):
    """A classifier of grey images of 24 x 24."""
    path = tmp_path_factory.mktemp("networks") / "grey.tflite"
    return convert(path, "classifier", (24, 24, 1), {"normalisation": "symmetric"})


@pytest.fixture(scope="session")
def pixels(tmp_path_factory):
    """A network that classifies the pixels of colour images of 32 x 32."""
    preprocessing = {"normalisation": "imagenet", "central_crop": 1.0, "scales": [1.0]}
    path = tmp_path_factory.mktemp("networks") / "pixels.tflite"
    return convert(path, "fcn32s", (32, 32, 3), preprocessing)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A float network that TFLite converted: no operation of LCE, no description."""
    import tensorflow as tf

    inputs = tf.keras.Input((8, 8, 3), batch_size=1)
    x = tf.keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    outputs = tf.keras.layers.Dense(5, activation="softmax")(x)
    path = tmp_path_factory.mktemp("networks") / "plain.tflite"
    model = tf.keras.Model(inputs, outputs)
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A file with two inputs, neither of which is an image."""
    import tensorflow as tf

    inputs = [tf.keras.Input((4,), batch_size=1) for _ in range(2)]
    model = tf.keras.Model(inputs, tf.keras.layers.Add()(inputs))
    path = tmp_path_factory.mktemp("networks") / "two.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


def photo(height, width, seed=0, channels=3):
    """Smooth random pixels `(height, width, channels) uint8`, which JPEG compresses as a photo."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image if channels == 3 else image.convert("L"))


def rewritten(content, description):
    """A file with another description, which may be any JSON or text."""
    import io
    import zipfile

    flat = content[: content.index(b"PK\x03\x04")] if b"PK\x03\x04" in content else content
    file = io.BytesIO(flat)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        text = description if isinstance(description, str | bytes) else json.dumps(description)
        archive.writestr("larq_groupnet.json", text)
    return file.getvalue()
