"""Batches of a dataset for a network, deterministic for a seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import cast

import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.autograph import as_written
from larq_groupnet.data import VOID, augment, images
from larq_groupnet.data.base import ROLES, Dataset
from larq_groupnet.data.copies import with_copies
from larq_groupnet.data.mixing import Mixing, mix
from larq_groupnet.data.opening import has_files as has_files
from larq_groupnet.data.opening import open_dataset as open_dataset
from larq_groupnet.data.opening import prepare as prepare
from larq_groupnet.data.order import ENDLESS
from larq_groupnet.data.reading import Reading
from larq_groupnet.data.records import RecordDataset
from larq_groupnet.errors import DatasetError
from larq_groupnet.hints import check_fields
from larq_groupnet.values import is_count, is_whole, native

Finish = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Pipeline:
    """Batches of one dataset for one model.

    Args:
        dataset: From `prepare` or `from_arrays`, or a TFDS builder.
        reading: How an image becomes the model's input; needs a size. Evaluation uses its central
            crop for labels, and its letterbox for all targets.
        batch_size: Images per step, at least 1.
        seed: Seed of the order and of the augmentation.
        augmentation: See `larq_groupnet.data.augment`; any function of that form works.
        eval_crop: For evaluation on masks: True to scale each image until it covers the input and
            take the centre, False to squeeze the whole image into the input.
        mixing: How training images are mixed with each other; only for labels.

    Raises:
        DatasetError: If an argument is not as described, such as a reading without a size.
    """

    def __init__(
        self,
        dataset: Dataset | tfds.core.DatasetBuilder,
        reading: Reading,
        batch_size: int,
        *,
        seed: int = 0,
        augmentation: augment.Change = augment.unchanged,
        eval_crop: bool = False,
        mixing: Mixing | None = None,
    ):
        if isinstance(dataset, tfds.core.DatasetBuilder):
            dataset = RecordDataset(dataset)
        self.dataset, self.reading, self.augmentation = dataset, reading, augmentation
        self.batch_size, self.seed, self.eval_crop = native((batch_size, seed, eval_crop))
        self.mixing = mixing or Mixing()
        kind = "the result of prepare(NAME, DATA_DIR) or from_arrays, or a TFDS builder"
        size = "a Reading with a size, the height and width of the model's input"
        change = "a function, such as larq_groupnet.data.AUGMENTATIONS['photo']"
        wanted = {
            "dataset": (isinstance(dataset, Dataset), kind),
            "reading": (isinstance(reading, Reading) and reading.size is not None, size),
            "batch_size": (is_count(self.batch_size), "an integer of at least 1"),
            "seed": (is_whole(self.seed, 0), "an integer of at least 0"),
            "augmentation": (callable(augmentation), change),
            "eval_crop": (isinstance(self.eval_crop, bool), "True or False"),
        }
        check_fields(self, wanted, DatasetError)
        self.size = cast(images.Size, reading.size)

    @property
    def target(self) -> str:
        """`"label"` or `"mask"`."""
        return self.dataset.target

    @functools.cached_property
    def _training(self) -> Dataset:
        """The dataset that training reads: small copies, if the augmentation needs no more."""
        detail = getattr(self.augmentation, "detail", 0)
        return with_copies(self.dataset, int(detail * max(self.size))) if detail else self.dataset

    def steps_per_pass(self) -> int:
        """Whole batches in one pass over the training split, at least one."""
        return max(self.dataset.sizes["train"] // self.batch_size, 1)

    def train_batches(
        self,
        steps_per_epoch: int,
        first_epoch: int = 0,
        first_step: int = 0,
        context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Endless shuffled and augmented batches: every example once per pass, pass after pass.

        Use `.take(n)` for n batches. Keras' `fit` needs `steps_per_epoch` with them.

        A batch depends only on the seed and the number of its step, so that an interrupted run
        resumes with exactly the batches that it would have seen. Passes do not end with epochs.

        Args:
            steps_per_epoch: Steps of each epoch before `first_epoch`. Does not limit the batches.
            first_epoch: Number of the epoch to start with.
            first_step: Number of batches of that epoch to skip.
            context: Tells which of several workers this is. Each decodes its share of every batch;
                together they see the batches of a single worker.

        Yields:
            Images `(batch, height, width, channels) float32` and labels `(batch,) int32` or class
            maps `(batch, height, width) int32`. With `mixing`, the share of each class
            `(batch, num_classes) float32`.
        """
        first = (first_epoch * steps_per_epoch + first_step) * self.batch_size
        dataset = self._training
        examples = dataset.examples("train")
        places = tf.data.Dataset.range(first, ENDLESS)
        data = tf.data.Dataset.zip((examples.shuffled(self.seed, first), places))
        batch_size = self.batch_size
        if context is not None:
            data = data.shard(context.num_input_pipelines, context.input_pipeline_id)
            batch_size = context.get_per_replica_batch_size(batch_size)

        def read(handle: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, ...]:
            image, target = examples.fetch(handle)
            return self._augmented(dataset, image, target, tf.stack([self.seed, place]))

        read = as_written(read, dataset, examples, self.augmentation)
        data = data.map(read, tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(batch_size, drop_remainder=True)
        if self.mixing:
            count = len(self.dataset.classes)
            mixed = as_written(lambda images, labels, own: mix(images, labels, own, count))
            data = data.map(mixed, tf.data.AUTOTUNE, deterministic=True)
        return data.prefetch(tf.data.AUTOTUNE)

    def eval_batches(self, role: str, sample: int = 0) -> tf.data.Dataset:
        """One pass over `"train"`, `"validation"` or `"test"` in its stored order.

        Args:
            role: The split to read.
            sample: How many examples to read, evenly spread over the split; 0 for all.

        Yields:
            The same as `train_batches`, without augmentation or mixing.

        Raises:
            DatasetError: If the role is none of these.
        """

        def evaluated(image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if not target.shape.rank:
                return self._fixed(self.reading(image)), target
            if self.eval_crop:
                image, target = images.centre(tf.cast(image, tf.float32), target, self.size)
            # A class map is squeezed like its image, or padded with void.
            whole = dataclasses.replace(self.reading, central_crop=1.0)
            if not self.reading.letterbox:
                return self._fixed(whole(image)), _plain(images.resize_mask(target, self.size))
            target = images.resize_mask(target, images.fitted(target, self.size))
            return self._fixed(whole(image)), _plain(images.pad(target, self.size, VOID))

        data = self._stored(role, evaluated, sample)
        return data.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)

    def full_images(self, role: str, sample: int = 0) -> tf.data.Dataset:
        """One pass over a split in its stored order, at full size.

        Takes the same arguments as `eval_batches`.

        Yields:
            Images `(height, width, channels) float32`, pixels of 0 to 255, each of its own size,
            and labels `() int32` or class maps `(height, width) int32`.
        """

        def plain(image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return tf.cast(image, tf.float32), _plain(target)

        return self._stored(role, plain, sample).prefetch(tf.data.AUTOTUNE)

    def _stored(self, role: str, finish: Finish, sample: int) -> tf.data.Dataset:
        if role not in ROLES:
            raise DatasetError(f"role: expected one of {', '.join(ROLES)}. Received: {role!r}")
        examples = self.dataset.examples(role)
        stored, count = examples.stored(), examples.count
        if 0 < sample < count:
            wanted = as_written(lambda number, _: number * sample % count < sample)
            stored = stored.enumerate().filter(wanted).map(as_written(lambda _, handle: handle))
            count = sample

        def read(handle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image, target = examples.fetch(handle)
            return finish(self.dataset.decode_image(image), self.dataset.decode_target(target))

        read = as_written(read, self.dataset, examples)
        data = stored.map(read, tf.data.AUTOTUNE, deterministic=True)
        return data.apply(tf.data.experimental.assert_cardinality(count))

    def _augmented(
        self, dataset: Dataset, image: tf.Tensor, target: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        target, change = dataset.decode_target(target), self.augmentation
        if isinstance(change, augment.Augmentation) and change.part is not None:
            # Decodes only this part of the file.
            begin, change = change.part, change.change
            image = dataset.decode_image(image, lambda shape: begin(shape, seed))
        else:
            image = dataset.decode_image(image)
        image, target = change(tf.cast(image, tf.float32), target, self.size, seed)
        image = images.normalise(self._fixed(image), self.reading.normalisation)
        own = (self.mixing.own(self.size, seed),) if self.mixing else ()
        return image, _plain(target), *own

    def _fixed(self, image: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(image, (*self.size, image.shape[-1]))


def class_names(dataset: Dataset) -> list[str]:
    """The class names in label order."""
    return list(dataset.classes)


def _plain(target: tf.Tensor) -> tf.Tensor:
    """A class map without its last axis, or a label."""
    return target[..., 0] if target.shape.rank else target
