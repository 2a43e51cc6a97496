"""keras-tuner's own tuners take the legacy Keras that this package chooses, beside Keras 3."""

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

DATA = np.eye(8, dtype="float32"), np.arange(8)


def make(hyperparameters):
    import larq

    kernels = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    units = hyperparameters.Int("units", 8, 32, step=8)
    model = tf.keras.Sequential(
        [larq.layers.QuantDense(units, **kernels, input_shape=(8,)), tf.keras.layers.Softmax()]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("tuner", "options"),
    [
        (keras_tuner.RandomSearch, {"max_trials": 2}),
        (keras_tuner.BayesianOptimization, {"max_trials": 3, "num_initial_points": 2}),
        (keras_tuner.Hyperband, {"max_epochs": 2}),
    ],
)
def test_stock_tuner_searches_over_a_binary_model(tuner, options, tmp_path):
    found = tuner(make, objective="val_accuracy", directory=tmp_path, seed=0, **options)
    found.search(*DATA, validation_data=DATA, epochs=1, verbose=0)
    assert {trial.status for trial in found.oracle.trials.values()} == {"COMPLETED"}
    units = found.get_best_hyperparameters()[0]["units"]
    assert found.get_best_models()[0].output_shape == (None, units)
