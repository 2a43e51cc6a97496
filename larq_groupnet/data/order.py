"""The order of training examples: every example once per pass, regardless of epochs.

The order of a pass depends only on the seed and the number of the pass, so that a run can resume at
any example without reading earlier ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from larq_groupnet.autograph import as_written

BLOCK_BYTES = 2**30
"""Size of a block of undecoded records that are shuffled together. Up to three are in memory."""

ENDLESS = np.iinfo(np.int64).max

Fetch = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Addressed:
    """Examples that can be fetched by their number; a pass is a uniform permutation of them.

    Attributes:
        count: Number of examples.
        fetch: Maps a number to image and target.
    """

    count: int
    fetch: Fetch

    def stored(self) -> tf.data.Dataset:
        """Numbers from 0 on."""
        return tf.data.Dataset.range(self.count)

    def shuffled(self, seed: int, first: int) -> tf.data.Dataset:
        """Endless permutations of the numbers; see `base.Examples`."""
        start, left_out = divmod(first, self.count)

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            order = _shuffle(tf.range(self.count, dtype=tf.int64), [seed, number])
            skipped = tf.where(number == start, np.int64(left_out), np.int64(0))
            return tf.data.Dataset.from_tensor_slices(order[skipped:])

        return tf.data.Dataset.range(start, ENDLESS).flat_map(as_written(one_pass))


def columns(images: tf.Tensor, targets: tf.Tensor) -> Addressed:
    """Examples whose undecoded images and targets are in memory, one per row."""
    return Addressed(
        len(images), lambda number: (tf.gather(images, number), tf.gather(targets, number))
    )


@dataclasses.dataclass(frozen=True)
class Records:
    """Examples in TFRecord files, which can only be read from front to back.

    A pass shuffles the files, and the records within each block. If a block holds the whole set, a
    pass is a uniform permutation.

    Attributes:
        files: Path, records to skip and records to take of each.
        fetch: Maps a record to image and target.
        block: Examples per block.
    """

    files: list[tuple[str, int, int]]
    fetch: Fetch
    block: int

    @property
    def count(self) -> int:
        """Number of examples."""
        return sum(take for _, _, take in self.files)

    def stored(self) -> tf.data.Dataset:
        """Records in the order of the files."""
        return self._read(tf.range(len(self.files)), tf.constant(0, tf.int64))

    def shuffled(self, seed: int, first: int) -> tf.data.Dataset:
        """Endless passes over the records; see `base.Examples`."""
        start, left_out = divmod(first, self.count)

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            skipped = tf.where(number == start, np.int64(left_out), np.int64(0))
            first_block = skipped // self.block
            order = _shuffle(tf.range(len(self.files)), [seed, (number + 1) * 2**32 - 1])
            blocks = self._read(order, first_block * self.block).batch(self.block)

            def shuffle(block: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
                records = _shuffle(records, [seed, number * 2**32 + block])
                return records[tf.where(block == first_block, skipped % self.block, 0) :]

            return blocks.enumerate(first_block).map(shuffle).prefetch(1).unbatch()

        return tf.data.Dataset.range(start, ENDLESS).flat_map(as_written(one_pass))

    def _read(self, order: tf.Tensor, first: tf.Tensor) -> tf.data.Dataset:
        """The records of the files in an order, starting at record number `first`."""
        paths, skips, takes = (tf.gather(list(each), order) for each in zip(*self.files))  # noqa: B905
        skips, takes = tf.cast(skips, tf.int64), tf.cast(takes, tf.int64)
        before = tf.clip_by_value(first - tf.cumsum(takes, exclusive=True), 0, takes)
        files = tf.data.Dataset.from_tensor_slices((paths, skips + before, takes - before))
        files = files.filter(as_written(lambda path, skip, take: take > 0))

        @as_written
        def read(path: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
            return tf.data.TFRecordDataset(path).skip(skip).take(take)

        return files.flat_map(read)


def block_for(count: int, total_bytes: int) -> int:
    """How many examples of average size fit into `BLOCK_BYTES`; at most `count`."""
    mean = max(total_bytes // max(count, 1), 1)
    return max(min(BLOCK_BYTES // mean, count), 1)


def _shuffle(values: tf.Tensor, seed: list[int | tf.Tensor]) -> tf.Tensor:
    draw = tf.stack([tf.cast(each, tf.int64) for each in seed])
    return tf.random.experimental.stateless_shuffle(values, draw)
