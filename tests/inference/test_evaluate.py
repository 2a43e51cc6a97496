"""The tally of a classifier against scikit-learn, and the loss against NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from near_ties import decided
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.data import VOID
from larq_groupnet.data.pipeline import prepare
from larq_groupnet.inference import evaluate
from larq_groupnet.inference.evaluate import evaluate_only
from larq_groupnet.runs.saved import pipeline_of
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.tallies import LabelCounts
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training import Phase, Recipe, RecipeError, override


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
def test_loss_is_the_mean_cross_entropy_of_what_is_not_void(smoothing):
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


def test_batch_of_void_alone_has_no_loss():
    loss = Segmentation(3).loss(0.0)(np.full((1, 2, 2), VOID), np.zeros((1, 2, 2, 3), "f4"))
    assert loss == 0


CONFIG = GroupNetConfig(
    head="fcn32s",
    input_shape=(32, 32, 3),
    num_classes=3,
    layout="two_stages",
    num_bases=1,
    width=0.125,
    output_stride=8,
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A recipe for a folder of images of several sizes, and weights for it."""
    root = tmp_path_factory.mktemp("scenes")
    rng = np.random.RandomState(0)
    for split, sizes in (
        ("train", [(32, 32)]),
        ("val", [(32, 32)]),
        ("test", [(40, 70), (20, 33)]),
    ):
        for number, size in enumerate(sizes):
            for kind in ("images", "masks"):
                (root / "set" / kind / split).mkdir(parents=True, exist_ok=True)
            pixels = rng.randint(0, 256, (*size, 3), np.uint8)
            truth = rng.choice([0, 1, 2, VOID], size).astype(np.uint8)
            Image.fromarray(pixels).save(root / "set" / "images" / split / f"{number}.png")
            Image.fromarray(truth).save(root / "set" / "masks" / split / f"{number}.png")
    tf.keras.utils.set_random_seed(0)
    model = build(CONFIG)
    model.save_weights(root / "weights.h5")
    phases = (Phase("binary", 1, 1e-3, True),)
    dataset = f"folder:{root / 'set'}"
    return Recipe("tiny", CONFIG, phases, dataset, eval_scales=(1.0,)), root, model


@pytest.fixture(scope="module")
def judged(scenes):
    """The results of the unchanged recipe."""
    recipe, root, _ = scenes
    return evaluate_only(recipe, root / "data", root / "weights.h5")


def test_full_images_are_judged_at_their_own_size(scenes, judged):
    _, root, model = scenes
    found = judged["keras"]
    truths, predicted = [], []
    for path in sorted((root / "set" / "images" / "test").iterdir()):
        image = np.asarray(Image.open(path), "float32") / 127.5 - 1
        truths.append(np.asarray(Image.open(root / "set" / "masks" / "test" / path.name)).ravel())
        height, width = image.shape[:2]
        grey = np.zeros((max(height, 32), max(width, 32), 3), "float32")
        grey[:height, :width] = image
        total, weights = np.zeros((*grey.shape[:2], 3)), np.zeros((*grey.shape[:2], 1))
        ramp = 1.0 + np.minimum(np.arange(32), np.arange(32)[::-1])
        for top in {0, min(16, len(grey) - 32), len(grey) - 32}:
            for left in {
                0,
                min(16, grey.shape[1] - 32),
                min(32, grey.shape[1] - 32),
                grey.shape[1] - 32,
            }:
                part = np.s_[top : top + 32, left : left + 32]
                shares = tf.nn.softmax(model(grey[None][:, part[0], part[1]]))[0].numpy()
                total[part] += np.outer(ramp, ramp)[..., None] * shares
                weights[part] += np.outer(ramp, ramp)[..., None]
        predicted.append((total / weights)[:height, :width].reshape(-1, 3))
    truth, scores = np.concatenate(truths), np.concatenate(predicted)
    known = truth != VOID
    np.testing.assert_array_equal(np.sum(found["confusion"], axis=1), np.bincount(truth[known]))
    sure = known & decided(scores, margin=0.5)
    expected = confusion_matrix(truth[sure], scores[sure].argmax(-1), labels=range(3))
    # Nearly tied pixels may add to any column.
    assert np.all(np.greater_equal(found["confusion"], expected))


@pytest.mark.parametrize("eval_crop", [False, True])
def test_pictures_show_pixels_whether_images_are_cropped_or_whole(scenes, eval_crop):
    recipe, root, model = scenes
    scales = () if eval_crop else recipe.eval_scales
    recipe = dataclasses.replace(recipe, eval_crop=eval_crop, eval_scales=scales)
    data = pipeline_of(recipe, prepare(recipe.dataset, root / "data"))
    batches, view = evaluate.test_images(recipe, data, 0)
    networks = {"keras": model.predict_on_batch}
    _, samples = evaluate.compare(networks, batches, task_of(CONFIG), "abc", 2, view)
    whole = evaluate.sees_whole(recipe)
    shown = evaluate.to_look_at(samples, None if whole else recipe.normalisation)
    for image in shown.images:
        assert image.dtype == np.uint8 and 110 < image.mean() < 145 and np.ptp(image) > 150


def test_every_metric_is_reported_and_scales_and_flip_change_them(scenes, judged):
    recipe, root, _ = scenes
    kinds = {"miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "iou"}
    kinds |= {"class_accuracy", "confusion", "mean_boundary_f_score", "boundary_f_score"}
    kinds |= {"baseline", "interval"}
    changes = [[("eval_scales", "()")], [("eval_scales", "(0.5, 1.5)"), ("eval_flip", "true")]]
    results = [judged] + [
        evaluate_only(override(recipe, change), root / "data", root / "weights.h5")
        for change in changes
    ]
    assert all(set(result["keras"]) == kinds for result in results)
    assert [r["preprocessing"]["scales"] for r in results] == [[1.0], [], [0.5, 1.5]]
    assert [r["preprocessing"]["flip"] for r in results] == [False, False, True]
    matrices = [result["keras"]["confusion"] for result in results]
    sums = [np.sum(matrix) for matrix in matrices]
    assert sums[0] == sums[1] == sums[2]
    assert not matrices[0] == matrices[1] != matrices[2]


@pytest.mark.parametrize("scales", [(0.0,), (-1.0,), (float("nan"),), ("1",), (True,)])
def test_scale_is_a_number_above_0(scenes, scales):
    with pytest.raises(RecipeError, match="eval_scales: expected finite numbers above 0"):
        dataclasses.replace(scenes[0], eval_scales=scales)
