"""A Keras model as a function of images."""

import numpy as np
import tensorflow as tf

from larq_groupnet.inference.network import predicting


def test_batches_of_all_sizes_are_traced_once_and_have_the_bits_of_keras():
    traced = []

    class Seen(tf.keras.layers.Layer):
        def call(self, images):
            traced.append(images.shape)
            return images

    layers = tf.keras.layers
    start, last = layers.Input((9, 7, 3)), layers.Conv2D(4, 3, activation="softmax")
    model = tf.keras.Sequential([start, layers.Conv2D(16, 3), Seen(), last])
    images = np.random.default_rng(0).normal(size=(8, 9, 7, 3)).astype("float32")
    network = predicting(model)
    traced.clear()
    found = [network(images[:count]) for count in (8, 3, 1, 5)]
    assert len(traced) == 1
    for scores in found:
        np.testing.assert_array_equal(scores, model.predict_on_batch(images[: len(scores)]))


def test_images_of_another_precision_are_taken_as_keras_takes_them():
    model = tf.keras.Sequential([tf.keras.layers.Input((4, 4, 1)), tf.keras.layers.Conv2D(2, 3)])
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    expected = model.predict_on_batch(images)
    np.testing.assert_array_equal(predicting(model)(images), expected)
