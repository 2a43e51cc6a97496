"""The CIFAR-10 recipes of zoo/ train on an artificial dataset in TFDS's format."""

import csv

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT
from runs import command, read_weights

from larq_groupnet.network.complexity import complexity
from larq_groupnet.training import load_recipe

LARGEST = 2e6
"""Bytes that the converted file may have."""


class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images of one colour per class, with noise."""

    __module__ = "larq_groupnet.data.small"  # TFDS wants a module in a package.
    name = "cifar10"
    VERSION = tfds.core.Version("3.0.2")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=[f"colour {n}" for n in range(10)]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(40), "test": self._generate_examples(20)}

    def _generate_examples(self, count):
        noise = np.random.RandomState(count)
        for n in range(count):
            colour = 25 * (n % 10) + noise.randint(0, 25, (32, 32, 3))
            yield n, {"image": colour.astype("u1"), "label": n % 10}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    Made(data_dir=str(folder)).download_and_prepare(download_config=config)
    return folder


@pytest.mark.slow
def test_recipe_trains_on_a_set_as_tfds_writes_it(data, tmp_path):
    name = "groupnet_resnet18"
    recipe = load_recipe(name, ROOT / "zoo", "cifar10")
    assert recipe.dataset == "cifar10" and recipe.model.input_shape == (32, 32, 3)
    run = tmp_path / "run"
    small = {"width": 0.0625, "layout": "two_stages", "stage_blocks": None, "output_stride": 2}
    small |= {"num_bases": 1, "batch_size": 4, "steps_per_epoch": 1, "epochs": 1}
    words = [f"--set={key}={value}" for key, value in small.items()]
    done = command(
        "train", "--model", name, "--dataset=cifar10", f"--data_dir={data}",
        f"--output_dir={run}", *words, judge=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["phase"] for row in rows] == [phase.name for phase in recipe.phases]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert all(np.isfinite(v).all() for v in read_weights(run / f"{rows[-1]['phase']}.h5").values())


def test_binary_networks_fit_in_a_file_of_two_megabytes():
    for name in ("groupnet_resnet18", "birealnet18"):
        model = load_recipe(name, ROOT / "zoo", "cifar10").model
        assert complexity(model).total.total_memory < LARGEST, name
