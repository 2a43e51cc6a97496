"""AutoGraph converts users' code, which may use `if` on a tensor."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.augment import Augmentation, unchanged
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.rand_augment import rand_augment
from larq_groupnet.data.reading import Reading
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.losses import loss

DARK, LIGHT = 50, 200


def negative_if_light(image, target, size, seed):
    if tf.reduce_mean(image) > 100:
        image = 255 - image
    return image, target


class Wrapped:
    """A callable object whose only name is its class's."""

    def __call__(self, *given):
        return negative_if_light(*given)


CHANGES = [
    negative_if_light,
    Augmentation(negative_if_light, ("label",)),
    rand_augment(Augmentation(negative_if_light, ("label",)), 0, 0),
    Wrapped(),
]


@pytest.mark.parametrize("change", CHANGES, ids=["function", "registered", "random", "object"])
def test_augmentation_of_a_user_may_ask_about_a_tensor(change):
    pixels = np.repeat([DARK, LIGHT], 10).astype("u1").reshape(20, 1, 1, 1)
    images = np.broadcast_to(pixels, (20, 8, 8, 1))
    data = from_arrays("two", (images, np.repeat([0, 1], 10)), class_names=["a", "b"])
    batches = Pipeline(data, Reading((8, 8)), 4, augmentation=change).train_batches(4)
    for found, _ in batches.take(4).as_numpy_iterator():
        pixel = np.unique(np.round((found + 1) * 127.5))
        assert set(pixel) <= {DARK, 255 - LIGHT}


def test_loss_of_a_user_may_ask_about_a_tensor():
    @loss("if_sure")
    def if_sure(task, target, scores):
        if tf.reduce_max(scores) > 0.5:
            return 2 * tf.reduce_sum(target * scores, -1)
        return tf.reduce_sum(target * scores, -1)

    try:
        model = tf.keras.Sequential([tf.keras.layers.Input((2,))])
        model.compile("sgd", Classification(2).loss(0.0, "if_sure"))
        for scores, expected in (([0.9, 0.1], 1.8), ([0.5, 0.5], 0.5)):
            found = model.evaluate(np.array([scores]), np.array([0]), verbose=0)
            assert found == pytest.approx(expected)
    finally:
        loss.remove("if_sure")


def test_own_code_is_traced_as_it_is_written():
    """Faster, but an `if` on a tensor is refused."""
    numbers = tf.data.Dataset.range(3)
    assert list(numbers.map(as_written(lambda x: x + 1, unchanged))) == [1, 2, 3]
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        numbers.map(as_written(lambda x: 1 if x > 0 else 2, unchanged))
    assert list(numbers.map(as_written(lambda x: 1 if x > 0 else 2, Wrapped()))) == [2, 1, 1]
