"""A task: everything that differs between kinds of prediction, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from larq_groupnet.autograph import as_written
from larq_groupnet.errors import ConfigError
from larq_groupnet.lazy import Lazy
from larq_groupnet.network.kinds import HEADS
from larq_groupnet.registries import Registry

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from larq_groupnet.network.config import GroupNetConfig
    from larq_groupnet.tasks.losses import Spec
else:  # Recipes ask a task what it allows, before TensorFlow is loaded.
    tf = Lazy("tensorflow")


def _is_task(kind: Any) -> bool:
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        return False
    headline = getattr(kind, "headline", None)
    return isinstance(headline, str) and isinstance(kind.targets, tuple) and bool(kind.targets)


task: Registry[type[Task]] = Registry(
    "task", ConfigError, "a subclass of Task with a tuple of targets and a headline", _is_task
)


class Tally(Protocol):
    """Counts over any number of batches."""

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The metrics by name; class metrics by class name."""


MOST_NAMED = 5
"""Largest number of classes that a prediction names."""


class Prediction(NamedTuple):
    """What a network predicts for one image, for people to read.

    Attributes:
        line: A line of text.
        files: Folder -> a PIL image, or an array.
        rows: Classes and their probabilities, most likely first.
    """

    line: str
    files: Mapping[str, Any] = {}
    rows: Sequence[tuple[str, float]] = ()


class Samples(NamedTuple):
    """Some images with their truths and scores, one item per image."""

    images: Sequence[np.ndarray]
    """`(height, width, channels)`."""
    truths: Sequence[np.ndarray]
    """Labels `()` or maps `(height, width)`."""
    scores: Sequence[np.ndarray]
    """`(num_classes,)` or `(height, width, num_classes)`, as the network gives them."""


class Thresholds(NamedTuple):
    """How far a converted file may differ from Keras on the test set."""

    agreement: float
    """Smallest share of equal predictions."""
    gap: float
    """Largest difference in the headline metric."""


class Task:
    """One kind of prediction. A new task needs only a subclass with `@task(NAME)`.

    Network heads name the task that they are for, see `larq_groupnet.network.kinds.head`.

    Args:
        num_classes: Number of classes, or values, per prediction.
        from_logits: True if the network ends without softmax; `None` for `gives_logits`.
        class_weights: Weight of each class in the loss, `(num_classes,)`; `None` for equal weights.
        temperature: Divides the logits of a label before `predict` shows probabilities.

    Attributes:
        targets: Features of a dataset that hold the truth; the first that a dataset has is used.
        mixes: True if images can be blended, or their content changed freely (mixup, CutMix,
            RandAugment).
        dense: True if every pixel is predicted. Test images are then evaluated at their own size.
        headline: The metric that chooses the best epoch and comes first in tables. Higher is
            better.
        labels: Metric -> its name in tables and pictures, in the order of a table.
        class_labels: Likewise for the metrics of each class.
        unit: What is predicted, in the plural.
        loss_title: Name of the loss in pictures.
        default_loss: Name of a registered loss.
        gives_logits: True if its heads end without softmax by default.
        void: The label that is not counted.
        thresholds: Limits for the converted file.
        num_pictures: Number of test images in the picture of predictions.
    """

    targets: ClassVar[tuple[str, ...]] = ()
    mixes: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    headline: ClassVar[str]
    labels: ClassVar[Mapping[str, str]] = {}
    class_labels: ClassVar[Mapping[str, str]] = {}
    unit: ClassVar[str] = "pixels"
    loss_title: ClassVar[str] = "Loss"
    default_loss: ClassVar[str] = "cross_entropy"
    gives_logits: ClassVar[bool] = True
    void: ClassVar[int] = -1
    thresholds: ClassVar[Thresholds] = Thresholds(agreement=0.998, gap=0.002)
    num_pictures: ClassVar[int] = 12

    def __init__(
        self,
        num_classes: int,
        from_logits: bool | None = None,
        class_weights: np.ndarray | None = None,
        temperature: float = 1.0,
    ):
        self.num_classes = num_classes
        self.temperature = temperature
        self.class_weights = class_weights
        self.from_logits = self.gives_logits if from_logits is None else from_logits

    @property
    def name(self) -> str:
        """The name that the task is registered under."""
        return next(name for name, kind in task.items() if isinstance(self, kind))

    def loss(
        self, label_smoothing: float = 0.0, spec: Spec = ""
    ) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The mean loss over everything that is not void, weighted by class, for `model.compile`.

        Args:
            label_smoothing: Share of the target that is spread evenly over the classes.
            spec: A registered loss; `""` for `default_loss`.

        Raises:
            RecipeError: If the loss is unknown.
        """
        from larq_groupnet.tasks import losses

        each = losses.call(spec or self.default_loss)

        def mean_loss(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            scores = _with_values(scores)
            target = self.target(truth, scores, label_smoothing)
            return self.mean(each(self, target, scores), truth, self.class_weights)

        return as_written(mean_loss, self, each)

    def target(self, truth: tf.Tensor, scores: tf.Tensor, label_smoothing: float) -> tf.Tensor:
        """The target of a loss: the share of each class.

        Args:
            truth: Integers, or `float32` shares of each class, as from mixup.
            scores: `(batch, ..., classes)`.
            label_smoothing: See `loss`.
        """
        target = tf.convert_to_tensor(truth)
        if not target.dtype.is_floating:
            # Keras gives labels an axis of length 1.
            target = tf.reshape(tf.cast(target, tf.int32), tf.shape(scores)[:-1])
            target = tf.one_hot(target, self.num_classes, dtype=scores.dtype)
        if not label_smoothing:
            return target
        spread = tf.constant(label_smoothing, scores.dtype)
        return target * (1.0 - spread) + spread / tf.cast(self.num_classes, scores.dtype)

    def counted(self, truth: tf.Tensor, each: tf.Tensor) -> tf.Tensor:
        """1 for each prediction that counts and 0 for void, with the shape and type of `each`."""
        truth = tf.convert_to_tensor(truth)
        if truth.dtype.is_floating:
            return tf.ones_like(each)
        return tf.cast(tf.reshape(truth, tf.shape(each)) != self.void, each.dtype)

    def mean(
        self, each: tf.Tensor, truth: tf.Tensor, class_weights: np.ndarray | None = None
    ) -> tf.Tensor:
        """The mean over everything that counts on all replicas; see `replicas.mean`.

        Args:
            each: One value per prediction, `(batch,)` or `(batch, height, width)`.
            truth: Labels or class maps; or the share of each class, without void.
            class_weights: `(num_classes,)`, for a weighted mean of labels or class maps.
        """
        from larq_groupnet.tasks import replicas

        weights = self.counted(truth, each)
        if class_weights is not None:
            known = tf.clip_by_value(tf.cast(truth, tf.int32), 0, self.num_classes - 1)
            known = tf.reshape(known, tf.shape(each))  # Keras gives labels an axis of length 1.
            weights *= tf.gather(tf.cast(class_weights, each.dtype), known)
        return replicas.mean(each, weights)

    def log_probabilities(self, scores: tf.Tensor) -> tf.Tensor:
        """The logarithm of each class's probability, from the scores of the network."""
        if self.from_logits:
            return tf.nn.log_softmax(scores)
        return tf.math.log(tf.maximum(scores, 1e-30))

    def measure(self, truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """One value for each prediction that counts; `headline` is their mean.

        A task whose metric is not a mean overrides `metrics` and `tally` instead.
        """
        raise NotImplementedError

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The metrics that Keras reports while training; one has the name in `headline`."""

        def measure(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            return self.measure(truth, _with_values(scores))

        return [tf.keras.metrics.MeanMetricWrapper(as_written(measure, self), name=self.headline)]

    def tally(self) -> Tally:
        """An empty tally."""
        from larq_groupnet.tasks.tallies import MeanTally

        return MeanTally(self.headline, self.measure)

    @staticmethod
    def add(tally: Any, truth: Any, scores: Any) -> None:
        """Adds a batch, or lists of images of several sizes, to a tally."""
        tally.add(truth, scores)

    def same(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """True where two scores of one image give the same prediction."""
        return one.argmax(-1) == other.argmax(-1)

    def prediction(
        self, pixels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
    ) -> Prediction:
        """What `predict` writes and prints for one image; by default, values and their picture.

        Args:
            pixels: `(height, width, channels) uint8`.
            scores: `(height, width, values)` or `(values,)`; probabilities, if the head classifies.
            class_names: One per class or value.
        """
        from larq_groupnet.report.pictures import draw_values

        line = f"{scores.min():.4g} to {scores.max():.4g}, mean {scores.mean():.4g}"
        files: dict[str, Any] = {"values": scores}
        if scores.ndim == 3:
            files["pictures"] = draw_values(scores[..., 0])
        return Prediction(line, files)

    def draw(self, samples: Samples, class_names: Sequence[str], path: Path, title: str) -> None:
        """Draws what a network predicts. Does nothing unless a task overrides it.

        Args:
            samples: Samples with `uint8` images.
            class_names: One per class.
            path: PNG to write.
            title: Line above the picture.
        """


def _with_values(scores: tf.Tensor) -> tf.Tensor:
    """Restores the last axis of the scores of pixels: Keras drops an axis of length 1."""
    return scores[..., None] if len(scores.shape) == 3 else scores


def task_of(config: GroupNetConfig, class_weights: np.ndarray | None = None) -> Task:
    """The task of a network's head; see `Task` for `class_weights`.

    Raises:
        ConfigError: If the network has no head, or the task of its head is not registered.
    """
    return kind_of(config.head)(config.num_classes, config.gives == "logits", class_weights)


def kind_of(head: str | None) -> type[Task]:
    """The task class of a head; raises the same errors as `task_of`."""
    if head is None:
        raise ConfigError(f"head: expected one of {', '.join(HEADS)}. Received: None")
    return task.find(HEADS.find(head).task)


def kind_in(results: Mapping[str, Any]) -> type[Task]:
    """The task class of a `results.json`; earlier files name only its unit."""
    if "task" in results:
        return task.find(results["task"])
    return next(kind for kind in task.values() if kind.unit == results["unit"])
