"""Distillation: the loss against NumPy, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, needs_bfloat16
from runs import command, read_weights, write_teacher

from larq_groupnet import build, get_config
from larq_groupnet.data import VOID
from larq_groupnet.data.images import MEAN_RGB, STDDEV_RGB, pixels_of
from larq_groupnet.recipes.recipe import Phase
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.training import RecipeError, load_recipe, override
from larq_groupnet.training import distillation as kd
from larq_groupnet.training.fit import Session, compile_model

SHAPE, CLASSES = (16, 16, 3), 4
SMALL = {"width": 0.0625, "stage_blocks": (1, 1, 1, 1)}
STUDENT = get_config(
    "groupnet_resnet18", input_shape=SHAPE, num_classes=CLASSES, num_bases=2, **SMALL
)
TEACHER = get_config("resnet18", input_shape=SHAPE, num_classes=CLASSES, **SMALL)
PHASE = Phase(
    "binary",
    epochs=1,
    learning_rate=1e-3,
    binary=True,
    soft_targets=0.3,
    temperature=3.0,
    attention=20.0,
    attention_blocks=("stage1_block1", "stage3_block1=stage3_block1_add"),
)
RNG = np.random.RandomState(0)
IMAGES = RNG.uniform(-1, 1, (6, *SHAPE)).astype("f4")
LABELS = RNG.randint(0, CLASSES, 6).astype("i4")


@pytest.fixture(scope="module")
def student():
    tf.keras.utils.set_random_seed(0)
    return build(STUDENT)


@pytest.fixture(scope="module")
def teacher():
    tf.keras.utils.set_random_seed(1)
    return kd.Teacher(build(TEACHER), "imagenet")


def compiled(student, teacher, phase=PHASE):
    model = kd.distilled(student, teacher, phase, Classification(CLASSES), "symmetric")
    compile_model(model, Session(None, 5, None, None, Classification(CLASSES)), phase)
    model.run_eagerly = True  # Tracing takes longer than the step; whole runs do it elsewhere.
    return model


def log_softmax(logits, temperature):
    logits = logits.astype("f8") / temperature
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def divergence(ours, theirs, temperature):
    one, two = (log_softmax(x, temperature) for x in (ours, theirs))
    return temperature**2 * (np.exp(two) * (two - one)).sum(-1)


def attention(features):
    found = (features.astype("f8") ** 2).sum(-1).reshape(len(features), -1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def outputs(model, names, images, training):
    tensors = [model.get_layer(name).output for name in names]
    return [x.numpy() for x in tf.keras.Model(model.inputs, tensors)(images, training=training)]


def test_loss_of_a_step_is_the_sum_that_the_papers_give(student, teacher):
    pixels = (IMAGES + 1) * 127.5
    names = ("logits", "stage1_block1_aggregate", "stage3_block1_aggregate")
    ours = outputs(student, names, IMAGES, training=True)
    names = ("logits", "stage1_block1_relu", "stage3_block1_add")
    normalised = ((pixels - MEAN_RGB) / STDDEV_RGB).astype("f4")
    theirs = outputs(teacher.model, names, normalised, training=False)

    hard = -log_softmax(ours[0], 1)[np.arange(6), LABELS].mean()
    soft = divergence(ours[0], theirs[0], 3).mean()
    maps = [
        np.square(attention(a) - attention(b)).sum(1).mean()
        for a, b in zip(ours[1:], theirs[1:], strict=True)
    ]
    found = compiled(student, teacher).train_on_batch(IMAGES, LABELS)[0]
    np.testing.assert_allclose(found, 0.7 * hard + 0.3 * soft + 20 * sum(maps), rtol=1e-4)


def test_soft_loss_leaves_void_out():
    ours, theirs = RNG.normal(size=(2, 2, 3, 4, CLASSES)).astype("f4")
    truth = RNG.randint(0, CLASSES, (2, 3, 4))
    truth[0, 1:] = VOID
    found = kd.soft_loss(Segmentation(CLASSES), truth, ours, theirs, 2.0)
    expected = divergence(ours, theirs, 2)[truth != VOID].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_student_that_agrees_has_nothing_to_learn():
    scores = tf.nn.softmax(RNG.normal(size=(5, CLASSES)) * 100).numpy()
    maps = RNG.normal(size=(5, 3, 3, 8))
    assert abs(kd.soft_loss(Classification(CLASSES), LABELS[:5], scores, scores, 4.0)) < 1e-6
    np.testing.assert_allclose(kd.attention_loss(maps, 2 * maps), 0, atol=1e-12)


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_bfloat16", marks=needs_bfloat16)]
)
def test_only_the_student_learns_and_is_saved(teacher, tmp_path, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        student = build(STUDENT)
        model = compiled(student, teacher)
        taught = [weight.numpy() for weight in teacher.model.weights]
        before = [weight.numpy() for weight in student.trainable_weights]
        assert np.isfinite(model.train_on_batch(IMAGES, LABELS)[0])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    for weight, value in zip(teacher.model.weights, taught, strict=True):
        np.testing.assert_array_equal(weight, value)
    for weight, value in zip(student.trainable_weights, before, strict=True):
        assert np.any(weight.numpy() != value), weight.name
    assert [w.name for w in model.weights] == [w.name for w in student.weights]
    for name, each in (("student", student), ("distilled", model)):
        each.save_weights(tmp_path / f"{name}.h5")
    one, two = (read_weights(tmp_path / f"{name}.h5") for name in ("student", "distilled"))
    assert one.keys() == two.keys()
    build(STUDENT, weights=tmp_path / "distilled.h5")


def test_validation_knows_nothing_of_the_teacher(student, teacher):
    expected = Classification(CLASSES).loss(0.0)(LABELS, student(IMAGES, training=False))
    found = compiled(student, teacher).test_on_batch(IMAGES, LABELS)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("stage1_blok1", "Did you mean 'stage1_block1'"),
        (
            "stage1_block1=relu",
            "no block 'relu' in groupnet.*Choices: stage1_block1, ",
        ),
        ("stage1_block1=stage2_block1", r"a map of \(16, 16\) .* Received: \(8, 8\)"),
    ],
)
def test_block_that_does_not_fit_is_named(student, teacher, block, message):
    phase = dataclasses.replace(PHASE, attention_blocks=(block,))
    with pytest.raises(RecipeError, match=message):
        kd.distilled(student, teacher, phase, Classification(CLASSES), "symmetric")


def recipe(teacher, *changes):
    changes = [*changes, ("binary.soft_targets", "0.5"), ("teacher", str(teacher))]
    return override(load_recipe("groupnet_resnet18", ROOT / "zoo"), changes)


def test_run_is_a_teacher_with_its_own_preprocessing(tmp_path):
    colour = ("input_shape", "(16, 16, 3)")
    run = write_teacher(tmp_path / "run", colour, ("normalisation", "imagenet"))
    found = kd.load_teacher(recipe(run, colour))
    assert found.normalisation == "imagenet"
    assert not found.model.trainable_weights
    expected = build(TEACHER.replace(num_classes=10), weights=run / "real.h5").get_weights()
    for value, wanted in zip(found.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_teacher_that_does_not_fit_is_explained(tmp_path):
    with pytest.raises(RecipeError, match="expected 10 classes.*Received: 9 in"):
        kd.load_teacher(recipe(write_teacher(tmp_path / "run", ("num_classes", "9"))))
    with pytest.raises(RecipeError, match="teacher: .*nowhere: expected a run's folder"):
        kd.load_teacher(recipe(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match="Did you mean 'QuickNet'"):
        kd.load_teacher(recipe("larq_zoo:QuikNet"))


def test_block_that_is_not_there_is_named_before_anything_is_written(digits, tmp_path):
    run, teacher = tmp_path / "run", write_teacher(tmp_path / "teacher")
    words = [f"--set={key}={value}" for key, value in {**SMALL, "num_bases": 1}.items()]
    words += [f"--set=teacher={teacher}", "--set=binary.attention=1", f"--data_dir={digits}"]
    wrong = "--set=binary.attention_blocks=('stage9_block1',)"
    done = command("train", "--model=groupnet_resnet18", *words, wrong, f"--output_dir={run}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("larq-groupnet: attention_blocks: no block 'st")
    assert done.stdout == "" and not run.exists()


def test_model_of_larq_zoo_is_a_teacher(monkeypatch, tmp_path):
    """Bi-Real Net itself, with random weights in place of those that it would fetch."""
    from larq_zoo import literature
    from larq_zoo.core import utils

    shape = (64, 64, 3)
    bireal = literature.BiRealNet(input_shape=shape, weights=None)
    bireal.save_weights(tmp_path / "weights.h5")

    def fetched(model, version, file, file_hash, cache_dir=None):
        assert (model, file) == ("birealnet", "birealnet_weights.h5")
        return str(tmp_path / "weights.h5")

    monkeypatch.setattr(utils, "download_pretrained_model", fetched)
    config = get_config(
        "groupnet_resnet18",
        input_shape=shape,
        num_classes=1000,
        num_bases=1,
        stem_stride=4,
        output_stride=32,
        **SMALL,
    )
    found = kd.load_teacher(dataclasses.replace(recipe("larq_zoo:BiRealNet"), model=config))
    assert found.normalisation == "imagenet"
    images = RNG.uniform(-1, 1, (2, *shape)).astype("f4")
    np.testing.assert_array_equal(found.model(images), bireal(images))

    # One addition for each of its 16 binary convolutions, whatever was built before.
    phase = dataclasses.replace(PHASE, attention_blocks=("stage4_block1=add_15",))
    student, task = build(config), Classification(1000)
    assert kd.distilled(student, found, phase, task, "symmetric") is student
    maps = kd.block_output(found.model, "add_15")
    scores, maps = tf.keras.Model(found.model.inputs, [found.model.output, maps])(images)
    assert scores.shape == (2, 1000) and maps.shape == (2, 2, 2, 512)


def test_teacher_and_someone_to_teach_belong_together():
    plain = load_recipe("groupnet_resnet18", ROOT / "zoo")
    for key, value in (("teacher", "x"), ("binary.soft_targets", "0.5")):
        with pytest.raises(RecipeError, match="teacher: expected one with soft_targets"):
            override(plain, [(key, value)])
    with pytest.raises(RecipeError, match="names of blocks with attention above 0"):
        override(plain, [("binary.attention", "1"), ("teacher", "x")])


def test_pixels_are_the_inverse_of_either_normalisation():
    from larq_groupnet.data.images import normalise

    for name in ("symmetric", "imagenet"):
        found = pixels_of(normalise(tf.constant(IMAGES * 100 + 100), name), name)
        np.testing.assert_allclose(found, IMAGES * 100 + 100, rtol=1e-5, atol=1e-3)
