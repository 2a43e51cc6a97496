"""Training extensions from outside the package: files of `tests/extending/`, in the docs."""

import json
import runpy

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from larq_groupnet import GroupNetConfig, build, complexity
from larq_groupnet.data.images import normalise
from larq_groupnet.deploy import convert
from larq_groupnet.deploy.audit import audit
from larq_groupnet.errors import RecipeError
from larq_groupnet.inference.evaluate import evaluate
from larq_groupnet.inference.network import predicting
from larq_groupnet.inference.predict import predict_files
from larq_groupnet.inference.sources import load_predictor
from larq_groupnet.network.kinds import HEADS
from larq_groupnet.recipes import Phase, Recipe, override
from larq_groupnet.runs.identity import record_classes
from larq_groupnet.tasks.judgement import disagreement
from larq_groupnet.tasks.losses import loss
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.task import task, task_of
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.fit import Session, train
from larq_groupnet.training.optimizers import make_optimizer
from larq_groupnet.training.run import check_phases

FOLDER = ROOT / "tests" / "extending"
TINY = {"width": 0.0625, "layout": "two_stages", "num_bases": 2, "input_shape": (16, 16, 3)}
REGISTRIES = [HEADS, loss, task]


@pytest.fixture
def extension(request):
    """Runs a file of `tests/extending/`, and removes what it registers afterwards."""
    before = [set(registry) for registry in REGISTRIES]
    yield runpy.run_path(str(FOLDER / f"{request.param}.py"))
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - names:
            registry.remove(name)


def adds(name):
    return pytest.mark.parametrize("extension", [name], indirect=True)


class Data:
    """The same batch forever."""

    def __init__(self, truth):
        self.images = np.random.RandomState(0).uniform(-1, 1, (4, 16, 16, 3)).astype("f4")
        self.truth = truth

    batch_size = 4

    def train_batches(self, steps_per_epoch, first_epoch=0, first_step=0, context=None):
        return tf.data.Dataset.from_tensors((self.images, self.truth)).repeat()

    def eval_batches(self, role):
        return self.train_batches(1).take(1)


def trained(recipe, data, folder):
    """Returns the model after two steps, and the rows of `history.csv`."""
    session = Session(
        data, 2, data.eval_batches("validation"), folder, task_of(recipe.model)
    )  # fmt: skip
    weights = train(recipe, session)
    rows = np.genfromtxt(
        folder / "history.csv", delimiter=",", names=True, dtype=None, encoding="utf8"
    )
    return build(recipe.model, weights=weights), rows


def recipe_of(config, **phase):
    phases = (Phase("binary", 1, 1e-3, True, warmup_epochs=0, **phase),)
    return Recipe("tiny", config, phases, "none", batch_size=4)


@adds("task")
def test_task_of_depth_is_trained_counted_converted_and_judged(extension, tmp_path, request):
    config = GroupNetConfig(head="depth", num_classes=1, output_stride=8, **TINY)
    truth = np.random.RandomState(1).uniform(1, 9, (4, 16, 16)).astype("f4")
    truth[:, :8] = 0
    data = Data(truth)
    model, row = trained(recipe_of(config), data, tmp_path)
    request.getfixturevalue("eager")
    metres = model.predict_on_batch(data.images)[..., 0]
    known = truth > 0
    assert row["val_loss"] == pytest.approx(np.abs(metres - truth)[known].mean(), rel=1e-4)
    within = (np.abs(metres - truth) <= 0.25 * truth)[known].mean()
    assert row["val_within"] == pytest.approx(within, abs=1e-3)

    profile = lq.models.ModelProfile(model)
    total = complexity(config).total
    assert total.params == {b: profile.weight_count(b) for b in profile.unique_param_bidtwidths}
    assert total.macs == {b: profile.op_count("mac", b) for b in profile.unique_op_precisions}
    file = convert(model, tmp_path / "model.tflite", data=data.images)
    assert audit(model, file) == []

    check_prediction(model, recipe_of(config), tmp_path)
    own = task_of(config)
    found, _ = evaluate(predicting(model), file, data.eval_batches("test"), own, [])
    assert found["keras"]["within"] == pytest.approx(within, abs=1e-6)
    results = {**found, "task": own.name, "headline": own.headline, "unit": own.unit, "macs": {}}
    assert disagreement(results) is None
    assert disagreement({**results, "agreement": 0.99})


def check_prediction(model, recipe, run):
    """Checks that `predict` writes each pixel's metres and a picture of them."""
    (run / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    record_classes(run, ["metres"])
    pixels = np.random.RandomState(2).randint(0, 256, (16, 16, 3), "u1")
    Image.fromarray(pixels).save(run / "photo.png")
    assert predict_files(load_predictor(run), run / "photo.png", run / "out") == (1, [])
    expected = model.predict_on_batch(normalise(pixels[None], "symmetric"))[0]
    np.testing.assert_allclose(np.load(run / "out/values/photo.npy"), expected, atol=1e-5)
    assert len(np.unique(np.asarray(Image.open(run / "out/pictures/photo.png")))) > 50


@adds("loss")
@pytest.mark.usefixtures("eager")
def test_loss_has_arguments(extension, tmp_path):
    config = GroupNetConfig(head="fcn32s", num_classes=2, output_stride=8, **TINY)
    recipe = override(recipe_of(config), [("loss", "balanced"), ("loss.shares", "(0.8, 0.2)")])
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    labels = np.random.RandomState(1).randint(0, 2, (4, 16, 16)).astype("i4")
    labels[0] = 255
    data = Data(labels)
    model, row = trained(recipe, data, tmp_path)
    logits = model.predict_on_batch(data.images).astype("f8")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = -np.take_along_axis(logs, np.minimum(labels, 1)[..., None], -1)[..., 0]
    each = (each / np.array([0.8, 0.2])[np.minimum(labels, 1)])[labels < 255]
    assert row["val_loss"] == pytest.approx(each.mean(), rel=1e-4)
    with pytest.raises(RecipeError, match="Did you mean 'balanced'"):
        check_phases(override(recipe, [("loss", "balance")]), Runtime())


@adds("optimizer")
@pytest.mark.usefixtures("eager")
def test_optimizer_has_arguments(extension, tmp_path):
    config = GroupNetConfig(num_classes=3, output_stride=8, **TINY)
    changes = [("optimizer", "mine>SignSGD"), ("binary.optimizer.share", "0.25")]
    recipe = override(recipe_of(config, schedule="constant", head_factor=10.0), changes)
    check_phases(recipe, Runtime())
    chosen = make_optimizer(recipe.phases[0], 5)
    head, other = (tf.Variable([2.0, -4.0], name=name) for name in ("logits/kernel", "stem/kernel"))
    chosen.build([head, other])
    chosen.apply_gradients([(tf.constant([0.5, -0.5]), each) for each in (head, other)])
    step = 1e-3 * (0.25 * 1 + 0.75 * 0.5)
    np.testing.assert_allclose(other, [2 - step, -4 + step], rtol=1e-6)
    np.testing.assert_allclose(head, [2 - 10 * step, -4 + 10 * step], rtol=1e-6)
    trained(recipe, Data(np.arange(4, dtype="i4") % 3), tmp_path)


def test_focal_loss_is_its_formula():
    rng = np.random.RandomState(0)
    logits, labels = rng.normal(size=(6, 5)).astype("f4"), rng.randint(0, 5, 6)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    right = shares[np.arange(6), labels]
    for gamma in (0.0, 1.5, np.float32(1.5), np.int64(2)):
        found = Segmentation(5).loss(spec={"class_name": "focal", "config": {"gamma": gamma}})
        expected = -((1 - right) ** gamma * np.log(right)).mean()
        assert float(found(labels, logits)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(RecipeError, match="loss: expected focal with gamma. Received: gama"):
        Segmentation(5).loss(spec={"class_name": "focal", "config": {"gama": 1.0}})
    for wrong in (-1, "2", None, float("nan")):
        with pytest.raises(RecipeError, match="loss.gamma: expected a number of at least 0"):
            Segmentation(5).loss(spec={"class_name": "focal", "config": {"gamma": wrong}})
    with pytest.raises(RecipeError, match="cross_entropy with no argument. Received: gamma"):
        Segmentation(5).loss(spec={"class_name": "cross_entropy", "config": {"gamma": 1.0}})


@pytest.fixture
def own_loss():
    @loss("own")
    def own(task, target, scores, flag=False, shares=(), power=2.0, *, floor):
        return target[..., 0]

    yield lambda **options: Segmentation(5).loss(spec={"class_name": "own", "config": options})
    loss.remove("own")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flag": "no"}, "loss.flag: expected true or false. Received: flag='no'"),
        ({"flag": 0}, "loss.flag: expected true or false"),
        ({"shares": "half"}, "loss.shares: expected a list. Received: shares='half'"),
        ({"shares": 0.5}, "loss.shares: expected a list"),
        ({"power": [2]}, "loss.power: expected a number"),
    ],
)
def test_option_of_a_loss_is_of_the_kind_of_its_default(own_loss, options, message):
    own_loss(floor="any", flag=np.bool_(True), shares=np.ones(5), power=np.float32(1))
    own_loss(floor=None, shares=[0.5])
    with pytest.raises(RecipeError, match=message):
        own_loss(floor=0, **options)


def test_loss_without_what_it_needs_is_refused_before_training(own_loss):
    with pytest.raises(RecipeError, match="loss: expected own .* missing .* argument: 'floor'"):
        own_loss()
    loss.add("few", lambda task, target: target)
    try:
        with pytest.raises(RecipeError, match="loss: expected few to take task, target and scores"):
            Segmentation(5).loss(spec="few")
    finally:
        loss.remove("few")
