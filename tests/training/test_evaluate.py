"""The tally of a classifier against scikit-learn, and the loss against NumPy."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score

from larq_groupnet.data import VOID
from larq_groupnet.training.evaluate import LabelCounts
from larq_groupnet.training.tasks import Classification, Segmentation


def test_counts_over_batches_equal_scikit_learn():
    rng = np.random.RandomState(0)
    truth, scores = rng.randint(0, 7, 100), rng.uniform(size=(100, 8))
    counts = LabelCounts(8)
    counts.add(truth[:30], scores[:30])
    counts.add(truth[30:], scores[30:])
    found = counts.to_dict(list("abcdefgh"))
    predicted = scores.argmax(-1)
    assert found["accuracy"] == accuracy_score(truth, predicted)
    assert found["top5"] == top_k_accuracy_score(truth, scores, k=5, labels=range(8))
    expected = recall_score(truth, predicted, labels=range(7), average=None)
    np.testing.assert_allclose(list(found["recall"].values())[:7], expected)
    assert np.isnan(found["recall"]["h"])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_cross_entropy_of_what_is_not_void(smoothing):
    rng = np.random.RandomState(0)
    logits = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    truth = rng.randint(0, 5, (2, 3, 4))
    truth[0, 0] = VOID
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    target = np.eye(5)[np.where(truth == VOID, 0, truth)] * (1 - smoothing) + smoothing / 5
    each = -(target * np.log(probabilities)).sum(-1)
    np.testing.assert_allclose(
        Segmentation(5).loss(smoothing)(truth, logits), each[truth != VOID].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        Classification(5).loss(smoothing)(truth[1, 0], probabilities[1, 0]),
        each[1, 0].mean(),
        rtol=1e-5,
    )


def test_a_batch_of_void_alone_has_no_loss():
    loss = Segmentation(3).loss(0.0)(np.full((1, 2, 2), VOID), np.zeros((1, 2, 2, 3), "f4"))
    assert loss == 0
