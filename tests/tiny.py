"""A network that trains in a second, and data without a dataset."""

import numpy as np
import tensorflow as tf
from conftest import ROOT

from larq_groupnet.tasks.task import task_of
from larq_groupnet.training import load_recipe, override
from larq_groupnet.training.fit import Session

RECIPE = override(
    load_recipe("groupnet_dsp", ROOT / "zoo"),
    [
        ("num_bases", "1"), ("width", "0.0625"), ("layout", "two_stages"),
        ("output_stride", "4"), ("atrous_rates", "None"), ("input_shape", "(16, 16, 3)"),
        ("epochs", "1"),
    ],
)  # fmt: skip


IMAGES = np.random.RandomState(0).uniform(-1, 1, (4, 16, 16, 3)).astype("float32")
MASKS = np.random.RandomState(1).randint(0, 11, (4, 16, 16)).astype("int32")


class Data:
    """The same batch forever."""

    batch_size = 4

    @staticmethod
    def train_batches(steps_per_epoch, first_epoch=0, first_step=0, context=None):
        return tf.data.Dataset.from_tensors((IMAGES, MASKS)).repeat()


def session(folder, steps=1):
    validation = Data.train_batches(1).take(1)
    return Session(Data(), steps, validation, folder, task_of(RECIPE.model))
