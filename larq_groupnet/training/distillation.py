"""Distillation from a teacher: its probabilities (soft targets) and its attention maps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import tensorflow as tf

from larq_groupnet.data.images import normalise, pixels_of
from larq_groupnet.hints import did_you_mean
from larq_groupnet.network.build import build
from larq_groupnet.recipes.recipe import Phase, Recipe, RecipeError, unknown
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.source import find_source
from larq_groupnet.tasks.task import Task

LARQ_ZOO = "larq_zoo:"
"""Prefix of a teacher's name if it is a model of larq-zoo."""

# Suffixes of the layer that computes the output of a block, after the name of the block.
_ENDS = ("aggregate", "relu", "conv3_add", "conv2_add")
_SMALLEST = 1e-30


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained network, and the normalisation of its images.

    Attributes:
        model: Maps images to probabilities or logits, with the student's shapes.
        normalisation: See `larq_groupnet.data.images.normalise`.
    """

    model: tf.keras.Model
    normalisation: str


def load_teacher(recipe: Recipe) -> Teacher:
    """Loads the teacher that a recipe names, for the size of the student's images.

    Raises:
        RecipeError: If the teacher does not exist or does not fit the student.
    """
    shape, name = recipe.model.input_shape, recipe.teacher
    if name.startswith(LARQ_ZOO):
        teacher = Teacher(_larq_zoo(name.removeprefix(LARQ_ZOO), shape), "imagenet")
    else:
        try:
            source = find_source(name).sized(shape[:2])
            model = source.load()
        except (OSError, ValueError) as error:
            raise RecipeError(f"teacher: {error}") from error
        if "normalisation" not in source.preprocessing:
            raise RecipeError(
                f"teacher: expected weights whose description states the normalisation. "
                f"Received: {name}. Import them again and state their normalisation."
            )
        teacher = Teacher(model, source.preprocessing["normalisation"])
    model = teacher.model
    for what, received, expected in (
        ("channels", model.input_shape[3], shape[2]),
        ("classes", model.output_shape[-1], recipe.model.num_classes),
        ("axes", len(model.output_shape), 2 if recipe.model.head == "classifier" else 4),
    ):
        if received != expected:
            raise RecipeError(
                f"teacher: expected {expected} {what}, as the student has. "
                f"Received: {received} in {name}"
            )
    model.trainable = False
    return teacher


def check_teacher(recipe: Recipe, classes: Sequence[str]) -> None:
    """Checks, before a teacher is built, that it has learned the classes of the student's dataset.

    Raises:
        DatasetError: If their names or order differ.
        UserError: If the teacher does not exist.
    """
    name = recipe.teacher
    if not name.startswith(LARQ_ZOO):
        check_classes(find_source(name).classes, classes, f"the teacher {name}", recipe.dataset)


def _larq_zoo(name: str, shape: tuple[int | None, ...]) -> tf.keras.Model:
    from larq_zoo import literature, sota

    models = {each: getattr(m, each) for m in (literature, sota) for each in m.__all__}
    if name not in models:
        raise RecipeError(unknown("teacher of larq_zoo", name, models))
    try:
        tf.keras.backend.reset_uids()  # So that its layers always get the same numbers.
        model = models[name](weights="imagenet")  # larq-zoo has weights for 224 x 224 only.
        if model.input_shape[1:] != shape:
            tf.keras.backend.reset_uids()
            sized = models[name](input_shape=shape, weights=None)
            sized.set_weights(model.get_weights())
            model = sized
        return model
    except Exception as error:  # Of the network, the disk or the shape.
        raise RecipeError(
            f"teacher: {LARQ_ZOO}{name} could not be loaded. larq-zoo says: {error}"
        ) from error


def check_blocks(recipe: Recipe, teacher: Teacher) -> None:
    """Checks that student and teacher have the `attention_blocks` of all phases.

    Builds the student for this. Raises the errors of `distilled`.
    """
    phases = [phase for phase in recipe.trained if phase.attention_blocks]
    student = build(recipe.model, name=recipe.name) if phases else None
    for phase in phases:
        _blocks(student, teacher, phase)


def distilled(
    student: tf.keras.Model, teacher: Teacher, phase: Phase, task: Task, normalisation: str
) -> tf.keras.Model:
    """Gives the student a training step that also learns from the teacher.

    The student's layers and weights do not change, so it is saved and evaluated as usual. The loss
    combines Hinton et al. (2015), section 2, and Zagoruyko & Komodakis (2017):

        (1 - soft_targets) * loss + soft_targets * soft_loss + attention * sum(attention_loss)

    Args:
        student: A functional model.
        teacher: The teacher.
        phase: Gives the weights of the losses, the temperature and the blocks.
        task: Defines which targets count.
        normalisation: Normalisation of the student's images.

    Raises:
        RecipeError: If a block does not exist, or its map has another size in the teacher.
    """
    ours, theirs = _blocks(student, teacher, phase)
    with_maps = tf.keras.Model(student.inputs, [student.output, *ours])
    to_match = tf.keras.Model(teacher.model.inputs, [teacher.model.output, *theirs])

    def teach(images: tf.Tensor) -> list[tf.Tensor]:
        if teacher.normalisation != normalisation:
            images = normalise(pixels_of(images, normalisation), teacher.normalisation)
        found = tf.nest.flatten(to_match(images, training=False))
        return [tf.stop_gradient(each) for each in found]

    def lesson(truth: tf.Tensor, found: list[tf.Tensor], wanted: list[tf.Tensor]) -> tf.Tensor:
        """The loss of the teacher's targets."""
        total = tf.constant(0.0)
        if phase.soft_targets:
            soft = soft_loss(task, truth, found[0], wanted[0], phase.temperature)
            total += phase.soft_targets * soft
        for ours, theirs in zip(found[1:], wanted[1:], strict=True):
            total += phase.attention * attention_loss(ours, theirs)
        return total

    def train_step(data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Keras' own step with the teacher's loss added; the history shows the sum."""
        images, truth = data
        wanted = teach(images)
        with tf.GradientTape() as tape:
            found = tf.nest.flatten(with_maps(images, training=True))
            loss = student.compiled_loss(
                truth,
                found[0],
                tf.constant(1 - phase.soft_targets),
                regularization_losses=[*student.losses, lesson(truth, found, wanted)],
            )
        student.optimizer.minimize(loss, student.trainable_variables, tape=tape)
        return student.compute_metrics(images, truth, found[0], None)

    student.train_step = train_step
    return student


def _blocks(
    student: tf.keras.Model, teacher: Teacher, phase: Phase
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The outputs of a phase's blocks in the student and in the teacher."""
    pairs = [block.partition("=") for block in phase.attention_blocks]
    ours = [block_output(student, name) for name, _, _ in pairs]
    theirs = [block_output(teacher.model, other or name) for name, _, other in pairs]
    for (name, _, _), one, two in zip(pairs, ours, theirs, strict=True):
        if one.shape[1:3] != two.shape[1:3]:
            raise RecipeError(
                f"{phase.name}.attention_blocks: expected a map of {tuple(one.shape[1:3])} pixels "
                f"from the teacher for {name}. Received: {tuple(two.shape[1:3])}"
            )
    return ours, theirs


def soft_loss(
    task: Task, truth: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor, temperature: float
) -> tf.Tensor:
    """`T^2 * KL(teacher || student)` of the probabilities at temperature T.

    Args:
        task: Defines whether scores are logits, and which positions of `truth` do not count.
        truth: As for the task's loss.
        scores: The student's scores, classes on the last axis.
        wanted: The teacher's scores.
        temperature: T.

    Returns:
        The mean over all positions that count, `() float32`.
    """
    logits = [
        each if task.from_logits else tf.math.log(tf.maximum(each, _SMALLEST))
        for each in (tf.cast(scores, tf.float32), tf.cast(wanted, tf.float32))
    ]
    ours, theirs = (tf.nn.log_softmax(each / temperature) for each in logits)
    each = tf.reduce_sum(tf.exp(theirs) * (theirs - ours), -1)
    return temperature**2 * task.mean(each, truth)


def attention_loss(ours: tf.Tensor, theirs: tf.Tensor) -> tf.Tensor:
    """Squared distance of two attention maps, each scaled to length 1; the mean over the images.

    A map is the sum of the squared activations over the channels (Zagoruyko & Komodakis, ICLR 2017,
    equation 2, with the distance squared). The loss is between 0 and 2 for any size of the maps.

    Args:
        ours: `(batch, height, width, channels)`.
        theirs: `(batch, height, width, other channels)`.

    Returns:
        `() float32`.
    """

    def normalised(x: tf.Tensor) -> tf.Tensor:
        energy = tf.reduce_sum(tf.square(tf.cast(x, tf.float32)), -1)
        return tf.math.l2_normalize(tf.reshape(energy, (-1, x.shape[1] * x.shape[2])), axis=-1)

    maps = normalised(ours), normalised(theirs)
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(*maps), -1))


def block_output(model: tf.keras.Model, name: str) -> tf.Tensor:
    """The output `(batch, height, width, channels)` of a block, with its bases aggregated.

    Args:
        model: A Group-Net, or any functional model.
        name: Name of a block, such as `"stage2_block1"`, or of a layer.

    Raises:
        RecipeError: If the block does not exist; suggests the nearest name.
    """
    layers = {layer.name: layer for layer in model.layers}
    for layer in (name, *(f"{name}_{end}" for end in _ENDS)):
        if layer in layers and len(layers[layer].output_shape) == 4:
            return layers[layer].output
    pattern = rf"(stage\d+_block\d+)_(?:{'|'.join(_ENDS)})"
    blocks = dict.fromkeys(m[1] for m in (re.fullmatch(pattern, each) for each in layers) if m)
    choices = list(blocks) or [n for n, each in layers.items() if len(each.output_shape) == 4]
    raise RecipeError(
        f"attention_blocks: no block {name!r} in {model.name}.{did_you_mean(name, choices)} "
        f"Choices: {', '.join(choices)}"
    )
