"""The metrics against a plain loop and against Keras."""

import numpy as np
import tensorflow as tf

from larq_groupnet.training.evaluate import PixelCounts


def test_counts_over_batches_equal_a_loop_over_pixels_and_keras():
    rng = np.random.RandomState(0)
    truth, predicted = rng.randint(0, 4, (2, 3, 8, 8))
    counts = PixelCounts(5)
    counts.add(truth[:1], predicted[:1])
    counts.add(truth[1:], predicted[1:])

    expected = []
    for label in range(5):
        pairs = list(zip(truth.ravel() == label, predicted.ravel() == label, strict=True))
        union = sum(t or p for t, p in pairs)
        expected.append(sum(t and p for t, p in pairs) / union if union else np.nan)
    np.testing.assert_array_equal(counts.iou, expected)
    assert np.isnan(counts.iou[4])

    keras = tf.keras.metrics.MeanIoU(5)
    keras.update_state(truth, predicted)
    np.testing.assert_allclose(counts.miou, keras.result(), rtol=1e-6)
    assert counts.pixel_accuracy == np.mean(truth == predicted)
