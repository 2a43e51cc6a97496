"""The order of training examples: each once per pass, resumable anywhere, and well mixed."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from larq_groupnet.autograph import as_written
from larq_groupnet.data import order
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.order import Records
from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.reading import Reading
from larq_groupnet.data.records import RecordDataset, open_records

COUNT = 97


class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images whose pixels are their number, in several files."""

    __module__ = "larq_groupnet.data.small"  # TFDS wants a module in a package.
    name = "numbers"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(1, 1, 3)),
            "label": tfds.features.ClassLabel(names=[str(n) for n in range(COUNT)]),
            "other": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in ("train", "validation")}

    def _generate_examples(self):
        for n in range(COUNT):
            yield n, {"image": np.full((1, 1, 3), n, "u1"), "label": n, "other": "x"}


def written(folder, file_format="tfrecord", shards=7):
    builder = Numbers(data_dir=str(folder), file_format=file_format)
    config = tfds.download.DownloadConfig(num_shards=shards, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return written(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(params=["arrays", "one block", "blocks", "array_record"])
def dataset(request, tmp_path, records, monkeypatch):
    if request.param == "arrays":
        images = np.broadcast_to(
            np.arange(COUNT, dtype="u1")[:, None, None, None], (COUNT, 1, 1, 3)
        )
        both = (images, np.arange(COUNT))
        return from_arrays("numbers", both, both, class_names=[str(n) for n in range(COUNT)])
    if request.param == "array_record":
        return RecordDataset(written(tmp_path, "array_record", 3))
    if request.param == "blocks":
        monkeypatch.setattr(
            order, "BLOCK_BYTES", 30 * records.info.splits["train"].num_bytes // COUNT
        )
    return RecordDataset(records)


def numbers(examples, count, seed=0, first=0):
    number = as_written(lambda handle: examples.fetch(handle)[1])
    data = examples.shuffled(seed, first).take(count).map(number)
    return [int(number) for number in data.as_numpy_iterator()]


def test_every_example_comes_once_a_pass_and_any_may_be_the_first(dataset):
    examples = dataset.examples("train")
    seen = numbers(examples, 3 * COUNT + 30)
    passes = [seen[start : start + COUNT] for start in range(0, 3 * COUNT, COUNT)]
    for each in passes:
        assert sorted(each) == list(range(COUNT))
    assert passes[0] != passes[1] != passes[2]
    for first in (1, 30, 31, 96, 97, 150, 3 * COUNT):
        assert numbers(examples, 30, first=first) == seen[first : first + 30], first
    assert numbers(examples, 30, seed=1) != seen[:30]


def test_batches_are_the_examples_in_this_order_whatever_an_epoch_is(dataset):
    pipeline = Pipeline(dataset, Reading((1, 1)), 8, seed=3)
    expected = numbers(dataset.examples("train"), 240, seed=3)
    for steps, position, first in ((7, (0, 0), 0), (100, (0, 3), 24), (4, (3, 1), 104)):
        data = pipeline.train_batches(steps, *position).take(17)
        found = [batch for batch in data.as_numpy_iterator()]
        labels = np.concatenate([batch[1] for batch in found])
        assert labels.tolist() == expected[first : first + 136]
        pixels = np.concatenate([batch[0] for batch in found])[:, 0, 0, 0]
        np.testing.assert_allclose((pixels + 1) * 127.5, labels, atol=1e-3)


def test_pass_is_a_uniform_permutation():
    """Positions of an example over 100 passes; the bound is five standard deviations."""
    values = tf.range(COUNT, dtype=tf.int64)
    addressed = order.columns(values, values)
    passes = numbers(addressed, 100 * COUNT)
    table = np.reshape(passes, (100, COUNT))
    for number in (0, 50, 96):
        places = np.argmax(table == number, 1)
        assert abs(places.mean() - 48) < 5 * 28 / 100**0.5
        thirds = np.bincount(places * 3 // COUNT, minlength=3)
        assert np.abs(thirds - 100 / 3).max() < 5 * (100 * 2 / 9) ** 0.5


def test_files_and_blocks_are_mixed(records):
    """Blocks of 30 of 97 examples in 7 files: neighbours in a pass come from far apart."""
    whole = RecordDataset(records).examples("train")
    assert len(whole.files) == 7 and whole.block == COUNT
    some = Records(whole.files, whole.fetch, 30)
    table = np.reshape(numbers(some, 20 * COUNT), (20, COUNT))
    assert np.abs(np.diff(table, axis=1)).mean() > 10
    assert np.std(table[:, :30].mean(1)) > 5, "each pass begins with other files"


def test_version_that_tfds_would_not_write_is_read(tmp_path):
    """A cifar10 of another version or program is on disk, but TFDS has no class for it."""
    written(tmp_path)
    (tmp_path / "numbers" / "1.0.0").rename(tmp_path / "numbers" / "0.9.0")
    info = tmp_path / "numbers" / "0.9.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"1.0.0"', '"0.9.0"'))
    for name in ("numbers", "numbers:0.9.0"):
        dataset = open_records(name, tmp_path)
        assert dict(dataset.sizes) == {"train": COUNT, "validation": COUNT}
    written(tmp_path)
    assert str(open_records("numbers", tmp_path).builder.version) == "1.0.0"


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root becomes another user.")
def test_folder_of_data_that_cannot_be_written_is_read():
    """Run as another user, because root may write everywhere."""
    with tempfile.TemporaryDirectory() as folder:  # Other users cannot read pytest's folder.
        root = Path(folder)
        root.chmod(0o755)
        written(root / "data")
        for number in range(30):
            path = root / "set" / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(path)
        shutil.copytree(root / "data", root / "warm")

        def read_both(data_dir):
            for name in ("numbers", f"folder:{root / 'set'}"):
                pipeline = Pipeline(prepare(name, data_dir), Reading((4, 4)), 8)
                next(iter(pipeline.train_batches(1)))

        read_both(root / "warm")  # Imports packages, which the other user may not read.
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                (root / "data" / "x").write_text("")
            read_both(root / "data")
        finally:
            os.seteuid(0)
