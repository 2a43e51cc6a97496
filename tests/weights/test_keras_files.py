"""Weights files of Keras': read by name, described inside or beside, refused in one line."""

import json
import random
import shutil
import warnings
import zipfile

import numpy as np
import pytest

import larq_groupnet
from larq_groupnet.errors import UserError
from larq_groupnet.network.build import build
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.training import Phase, Recipe
from larq_groupnet.weights import FormatError, MismatchError, keras_files, metadata_of
from larq_groupnet.weights.metadata import Metadata
from larq_groupnet.weights.resolve import load_into
from tests.reference import random_images, randomise

TINY = {
    "input_shape": (32, 32, 3),
    "stage_blocks": (1, 1, 1, 1),
    "num_bases": (1, 2, 1, 1),
    "width": 0.0625,
    "num_classes": 5,
    "stem_stride": 1,
    "output_stride": 8,
}
CONFIG = GroupNetConfig(**TINY)
IMAGES = random_images(2, 32, 32, 3, seed=5).astype("float32")
# Of `a.weights.h5`; one test looks at the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*expected layer names:UserWarning")
FORMATS = ("a.h5", "a.weights.h5", "a.keras", "whole.h5")


@pytest.fixture(scope="module")
def model():
    model = build(CONFIG)
    randomise(model.weights, seed=1)
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Every format that Keras writes, with the same weights."""
    folder = tmp_path_factory.mktemp("files")
    for name in FORMATS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras calls HDF5 old.
            save = model.save_weights if "weights" in name or name == "a.h5" else model.save
            save(folder / name)
    return folder


@pytest.fixture(scope="module")
def other():
    """A network with other weights."""
    model = build(CONFIG)
    randomise(model.weights, seed=2)
    return model


def test_every_format_of_keras_gives_the_same_bits(model, other, files):
    expected, before = model(IMAGES), other.get_weights()
    for name in FORMATS:
        load_into(other, CONFIG, files / name)
        np.testing.assert_array_equal(other(IMAGES), expected)
        other.set_weights(before)


WITH_NAMES = ("a.h5", "a.keras", "whole.h5")


def test_weights_go_to_the_layer_of_their_name_in_a_network_of_another_order(model, files):
    config = CONFIG.replace(shortcut="block")
    network = build(config)
    assert [x.name for x in network.weights] != [x.name for x in model.weights]
    values = {weight.name: weight.numpy() for weight in model.weights}
    for name in WITH_NAMES:
        randomise(network.weights, seed=3)
        load_into(network, config, files / name)
        for weight in network.weights:
            np.testing.assert_array_equal(weight.numpy(), values[weight.name], err_msg=weight.name)
    with pytest.warns(UserWarning, match="right if it has the options of the weights"):
        load_into(network, config, files / "a.weights.h5")


def test_another_head_and_options_without_weights_are_taken_from_every_format_with_names(
    model, files
):
    config = CONFIG.replace(head="fcn32s", padding="zero")
    network = build(config)
    values = {weight.name: weight.numpy() for weight in model.weights}
    assert sum(weight.name in values for weight in network.weights) > 80
    for name in WITH_NAMES:
        randomise(network.weights, seed=3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*left out, because the head differs")
            load_into(network, config, files / name)
        for weight in network.weights:
            if weight.name in values:
                np.testing.assert_array_equal(weight.numpy(), values[weight.name])


@pytest.mark.parametrize("changes", [{"num_bases": (1, 3, 1, 1)}, {"width": 0.125}], ids=str)
def test_every_format_refuses_another_network_in_one_line(files, changes):
    config = CONFIG.replace(**changes)
    network = build(config)
    before = network.get_weights()
    for name in FORMATS:
        said = "different weights than the model .*Build the"
        with pytest.raises(MismatchError, match=said) as e:
            load_into(network, config, files / name)
        assert "\n" not in str(e.value)
    assert all(map(np.array_equal, before, network.get_weights()))


def test_every_format_leaves_out_another_head(model, files):
    config = CONFIG.replace(num_classes=3)
    network = build(config)
    for name in FORMATS:
        randomise(network.weights, seed=3)
        head = network.get_layer("logits").get_weights()
        with pytest.warns(UserWarning, match=r"the head differs: logits/bias:0: \(5,\) there"):
            load_into(network, config, files / name)
        assert all(map(np.array_equal, head, network.get_layer("logits").get_weights()))
        for one, two in zip(network.weights[:-2], model.weights[:-2], strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize("name", FORMATS[:3])
def test_mutated_file_is_one_line_or_loads_and_never_by_half(files, other, tmp_path, name):
    content = (files / name).read_bytes()
    before = other.get_weights()
    rng = random.Random(4)
    refused = 0
    for _ in range(40):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 8, 64])):
            low = rng.choice([0, 0, len(content) - 4096])
            changed[rng.randrange(low, low + 4096)] = rng.randrange(256)
        (tmp_path / name).write_bytes(changed[: rng.choice([len(content), rng.randrange(2**17)])])
        reason = None
        try:
            load_into(other, CONFIG, tmp_path / name)
        except UserError as error:
            reason = str(error)
        if reason is not None:
            refused += 1
            assert "\n" not in reason
            assert all(map(np.array_equal, before, other.get_weights()))
        other.set_weights(before)
    assert refused > 10


def test_archive_that_would_fill_the_disk_is_refused(tmp_path, other):
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**26))
    with pytest.raises(FormatError, match="would unpack to 67108864 bytes"):
        load_into(other, CONFIG, tmp_path / "bomb.keras")


def test_description_inside_is_read_wherever_the_file_goes(model, other, files, tmp_path):
    path = tmp_path / "described.h5"
    classes = tuple(f"class {i}" for i in range(5))
    about = Metadata(CONFIG, "digits", classes, {"normalisation": "symmetric"}, (), "CC0")
    keras_files.save(model, path)
    assert path.read_bytes() == (files / "a.h5").read_bytes()
    keras_files.save(model, path, about.to_dict())
    assert metadata_of(path) == about
    larger = larq_groupnet.GroupNetResNet18(weights=path, input_shape=(64, 32, 3))
    assert larger.input_shape == (None, 64, 32, 3)
    for one, two in zip(larger.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=two.name)
    with pytest.raises(MismatchError, match=r"num_bases: \(1, 2, 1, 1\) in the file, 3 in the"):
        larq_groupnet.GroupNetResNet18(weights=path, num_bases=3)
    with pytest.raises(MismatchError, match="layout: 'resnet18' in the file, 'resnet34' in"):
        larq_groupnet.GroupNetResNet34(weights=path)
    with pytest.warns(UserWarning, match="left out, because the head differs"):
        larq_groupnet.GroupNetResNet18(weights=path, num_classes=4)
    before = other.get_weights()
    other.load_weights(path)  # Keras does not mind.
    np.testing.assert_array_equal(other(IMAGES), model(IMAGES))
    other.set_weights(before)


@pytest.fixture
def run(files, tmp_path):
    """The folder of a run with the weights of both phases."""
    phases = (Phase("tanh", 1, 0.1, False), Phase("binary", 1, 0.1, True))
    recipe = Recipe("groupnet_resnet18", CONFIG, phases, "digits", central_crop=0.5)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    for name in ("tanh", "binary", "binary-last"):
        shutil.copyfile(files / "a.h5", tmp_path / f"{name}.h5")
    return tmp_path


@pytest.mark.parametrize("size", [50, 5_000, 200_000])
def test_weights_that_find_no_room_name_the_file_and_leave_the_one_before(
    model, tmp_path, largest_file, size
):
    path = tmp_path / "weights.h5"
    path.write_text("before")
    largest_file(size)
    with pytest.raises(OSError, match=r"File too large: .*weights\.h5"):
        keras_files.save(model, path, {"classes": ["a"]})
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_weights_of_a_run_are_described_by_its_files(run):
    known = metadata_of(run / "binary-last.h5")
    assert (known.config, known.dataset, known.classes) == (CONFIG, "digits", ())
    assert known.preprocessing["central_crop"] == 0.5 and known.preprocessing["size"] == [32, 32]
    for names, expected in ((list("badce"), tuple("badce")), (list("abc"), ())):
        (run / "run.json").write_text(json.dumps({"classes": names}))
        assert metadata_of(run / "binary.h5").classes == expected


def test_tanh_weights_do_not_load_into_a_binary_network(run):
    assert metadata_of(run / "tanh.h5").config.binary is False
    with pytest.raises(MismatchError, match="binary: False in the file, True in the") as error:
        larq_groupnet.GroupNetResNet18(weights=run / "tanh.h5")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', "\0", '{"model": {"width": 1e999}}'])
def test_description_that_cannot_be_read_is_named(run, text):
    (run / "recipe.json").write_text(text)
    with pytest.raises(FormatError, match="expected a description that larq_groupnet") as error:
        metadata_of(run / "binary.h5")
    assert "\n" not in str(error.value)


def test_home_folder_is_expanded(model, files, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    again = larq_groupnet.GroupNetResNet18(weights="~/a.keras", **TINY)
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    with pytest.raises(FileNotFoundError, match=r"weights='~/b.h5' \(no such file\)"):
        larq_groupnet.GroupNetResNet18(weights="~/b.h5")
    with pytest.raises(FileNotFoundError, match="a folder; give a file in it"):
        larq_groupnet.GroupNetResNet18(weights=files)
