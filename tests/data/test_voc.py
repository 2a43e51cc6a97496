"""VOC and SBD from tiny archives with the layout of the official ones."""

import io
import json
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT
from PIL import Image
from runs import command, read_weights
from scipy.io import savemat
from tensorflow import keras

from larq_groupnet import build
from larq_groupnet.data import DatasetError, voc
from larq_groupnet.data.opening import open_dataset
from larq_groupnet.recipes.overrides import split_option
from larq_groupnet.training import load_recipe, override
from larq_groupnet.training.run import run as train_and_judge

# SBD's lists overlap with both lists of VOC, like the real ones.
VOC_TRAIN = ["2007_000032", "2007_000039", "2008_000003"]
VOC_VAL = ["2007_000033", "2007_000042", "2011_003256"]
SBD_TRAIN = ["2008_000002", "2008_000003", "2007_000042"]
SBD_VAL = ["2010_000001", "2011_003256", "2007_000032"]
NAMES = sorted({*VOC_TRAIN, *VOC_VAL, *SBD_TRAIN, *SBD_VAL})
SIZE = (20, 30)


def brightness(name):
    """The brightness that identifies an image."""
    return 20 + 20 * NAMES.index(name)


def voc_labels(name):
    labels = np.random.RandomState(NAMES.index(name)).randint(0, 21, SIZE)
    labels[:2] = labels[:, :5] = 255
    labels[5, 5:26] = range(21)
    return labels.astype(np.uint8)


def sbd_labels(name):
    return np.random.RandomState(100 + NAMES.index(name)).randint(0, 21, SIZE).astype(np.uint8)


def encoded(image, kind):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def jpeg(name):
    return encoded(Image.new("RGB", SIZE[::-1], (brightness(name),) * 3), "JPEG")


def palette_png(labels):
    image = Image.fromarray(labels, "P")
    image.putpalette(np.random.RandomState(0).randint(0, 256, 768).tolist())
    return encoded(image, "PNG")


def listing(names):
    return ("\n".join(names) + "\n").encode()


def voc_files():
    root = "VOCdevkit/VOC2012"
    segmentation = f"{root}/ImageSets/Segmentation"
    files = {
        f"{root}/Annotations/2007_000032.xml": b"<annotation/>",
        f"{root}/ImageSets/Main/train.txt": listing(["2008_000008"]),
        f"{root}/JPEGImages/2008_000008.jpg": jpeg(NAMES[0]),
        f"{segmentation}/train.txt": listing(VOC_TRAIN),
        f"{segmentation}/val.txt": listing(VOC_VAL),
        f"{segmentation}/trainval.txt": listing(sorted(VOC_TRAIN + VOC_VAL)),
    }
    for name in VOC_TRAIN + VOC_VAL:
        files[f"{root}/JPEGImages/{name}.jpg"] = jpeg(name)
        files[f"{root}/SegmentationClass/{name}.png"] = palette_png(voc_labels(name))
        files[f"{root}/SegmentationObject/{name}.png"] = palette_png(voc_labels(name) // 2)
    return files


def sbd_files():
    root = "benchmark_RELEASE/dataset"
    files = {
        "benchmark_RELEASE/README": b"",
        f"{root}/train.txt": listing(SBD_TRAIN),
        f"{root}/val.txt": listing(SBD_VAL),
    }
    for name in SBD_TRAIN + SBD_VAL:
        present = np.arange(1, 21, dtype=np.uint8)[:, None]
        content = {
            "Boundaries": np.array([[None] * 20], object).T,
            "Segmentation": sbd_labels(name),
            "CategoriesPresent": present,
        }
        content["Boundaries"][:, 0] = [np.zeros(SIZE, np.uint8)] * 20
        for kind in ("cls", "inst"):
            file = io.BytesIO()
            savemat(file, {f"GT{kind}": content}, do_compression=True)
            files[f"{root}/{kind}/{name}.mat"] = file.getvalue()
        files[f"{root}/img/{name}.jpg"] = jpeg(name)
    return files


def pack(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    folders = {parent for name in files for parent in [*map(str, _parents(name))]}
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as file:
        for folder in sorted(folders):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            file.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def _parents(name):
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@pytest.fixture
def manual(tmp_path):
    """TFDS's folder for manual downloads, with both archives in it."""
    folder = tmp_path / "downloads" / "manual"
    pack(folder / "VOCtrainval_11-May-2012.tar", voc_files())
    pack(folder / "benchmark.tgz", sbd_files())
    return folder


def prepared(name, data_dir):
    builder = tfds.builder(name, data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return builder


def read(builder, split):
    """Name of the image -> its mask."""
    found = {}
    for example in builder.as_dataset(split=split).as_numpy_iterator():
        assert example["image"].shape == (*SIZE, 3)
        assert example["mask"].shape == (*SIZE, 1)
        values = [abs(int(example["image"][0, 0, 0]) - brightness(name)) for name in NAMES]
        name = NAMES[int(np.argmin(values))]
        assert name not in found
        found[name] = example["mask"][..., 0]
    return found


def test_voc_is_its_two_lists_with_void(manual, tmp_path):
    builder = prepared("voc2012", tmp_path)
    for split, names in (("train", VOC_TRAIN), ("validation", VOC_VAL)):
        found = read(builder, split)
        assert sorted(found) == sorted(names)
        for name, mask in found.items():
            np.testing.assert_array_equal(mask, voc_labels(name))
            assert (mask == 255).any()
    assert len(builder.info.features["mask"].names) == 21
    assert builder.info.features["mask"].names[15] == "person"


def test_voc_aug_trains_on_no_image_that_voc_validates_on(manual, tmp_path):
    builder = prepared("voc2012_aug", tmp_path)
    train, validation = read(builder, "train"), read(builder, "validation")
    assert not set(train) & set(VOC_VAL)
    assert set(validation) == set(VOC_VAL)
    assert set(train) == {*VOC_TRAIN, "2008_000002", "2010_000001"}
    for name, mask in {**train, **validation}.items():
        from_voc = name in VOC_TRAIN + VOC_VAL
        np.testing.assert_array_equal(mask, voc_labels(name) if from_voc else sbd_labels(name))


def test_voc_as_released_counts_doubles_twice_and_trains_on_validation_images(manual, tmp_path):
    builder = prepared("voc2012_released", tmp_path)
    masks = [e["mask"][..., 0] for e in builder.as_dataset(split="train").as_numpy_iterator()]
    expected = [voc_labels(n) for n in VOC_TRAIN] + [sbd_labels(n) for n in SBD_TRAIN]
    assert sorted(m.tobytes() for m in masks) == sorted(m.tobytes() for m in expected)
    assert set(SBD_TRAIN) & set(VOC_TRAIN) and set(SBD_TRAIN) & set(VOC_VAL)
    assert sorted(read(builder, "validation")) == sorted(VOC_VAL)


def test_unpacked_folder_does_as_well_and_is_left_alone(manual, tmp_path):
    with tarfile.open(manual / "VOCtrainval_11-May-2012.tar") as file:
        file.extractall(manual, filter="data")
    (manual / "VOCtrainval_11-May-2012.tar").unlink()
    before = sorted(manual.rglob("*"))
    assert sorted(read(prepared("voc2012", tmp_path), "train")) == VOC_TRAIN
    assert sorted(manual.rglob("*")) == before


def test_archives_are_unpacked_once_for_both(manual, tmp_path, capfd):
    prepared("voc2012", tmp_path)
    assert "Unpacking VOCtrainval" in capfd.readouterr().err
    prepared("voc2012_aug", tmp_path)
    said = capfd.readouterr().err
    assert "Unpacking benchmark.tgz" in said
    assert "Unpacking VOCtrainval" not in said


def test_missing_archive_is_named_with_its_place_and_page(manual, tmp_path):
    (manual / "benchmark.tgz").unlink()
    with pytest.raises(DatasetError) as info:
        prepared("voc2012_aug", tmp_path)
    said = str(info.value)
    assert f"Expected {manual / 'benchmark.tgz'}, from the download page of Berkeley's" in said
    assert "benchmark_RELEASE/dataset" in said
    assert "Received: ['VOCtrainval_11-May-2012.tar']" in said
    assert prepared("voc2012", tmp_path).info.splits["train"].num_examples == 3


@pytest.mark.parametrize("name", ["voc2012_aug", "voc2012_released"])
def test_missing_archive_is_known_before_anything_is_written(name, manual, tmp_path):
    (manual / "benchmark.tgz").unlink()
    with pytest.raises(DatasetError, match="benchmark.tgz"):
        open_dataset(name, tmp_path).check_sources()


@pytest.mark.parametrize("name", ["voc2012", "voc2012_aug", "voc2012_released"])
def test_without_any_archive_the_folder_is_named(tmp_path, name):
    with pytest.raises(DatasetError) as info:
        prepared(name, tmp_path)
    said = str(info.value)
    assert str(tmp_path / "downloads" / "manual") in said
    assert "VOCtrainval_11-May-2012.tar, unpacked or not, from 'Download the" in said
    assert ("benchmark.tgz" in said) == (name != "voc2012")
    assert "\n" not in said
    assert not (tmp_path / name / "1.0.0").exists()


def test_truncated_archive_leaves_nothing(manual, tmp_path):
    archive = manual / "VOCtrainval_11-May-2012.tar"
    archive.write_bytes(archive.read_bytes()[:5120])
    with pytest.raises(DatasetError, match="VOCtrainval_11-May-2012.tar is not a complete archive"):
        prepared("voc2012", tmp_path)
    assert not (tmp_path / "voc2012" / "1.0.0").exists()
    left = [path.name for path in (tmp_path / "downloads" / "extracted").iterdir()]
    assert left == [".VOCtrainval_11-May-2012.lock"]


def test_another_archive_under_the_name_is_told(manual, tmp_path):
    pack(manual / "VOCtrainval_11-May-2012.tar", sbd_files())
    with pytest.raises(DatasetError, match=r"Expected the folder VOCdevkit/VOC2012 in .*Received"):
        prepared("voc2012", tmp_path)


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("ImageSets/Segmentation/val.txt", None, r"Expected .*val\.txt.*no such file"),
        ("SegmentationClass/2007_000039.png", None, r"Expected .*39\.png.*no such file"),
        ("JPEGImages/2007_000039.jpg", None, r"Expected .*39\.jpg.*no such file"),
        (
            "SegmentationClass/2007_000039.png",
            np.full((20, 29), 20),
            r"39\.png.*\(20, 30\).*shape=\(20, 29\)",
        ),
        (
            "SegmentationClass/2007_000039.png",
            np.full((20, 30), 21),
            r"39\.png.*labels up to 20.*labels=\[21\]",
        ),
    ],
)
def test_archive_with_missing_or_wrong_parts_is_refused_by_name(manual, tmp_path, file, data, said):
    files = voc_files()
    name = f"VOCdevkit/VOC2012/{file}"
    del files[name]
    if data is not None:
        files[name] = palette_png(data.astype(np.uint8))
    pack(manual / "VOCtrainval_11-May-2012.tar", files)
    with pytest.raises(DatasetError, match=said):
        prepared("voc2012", tmp_path)
    assert not (tmp_path / "voc2012" / "1.0.0").exists()


def test_class_names_are_those_of_voc():
    """In the order of VOC's devkit: alphabetical after background."""
    assert len(set(voc.CLASS_NAMES)) == 21
    assert voc.CLASS_NAMES[0] == "background"
    assert list(voc.CLASS_NAMES[1:]) == sorted(voc.CLASS_NAMES[1:])


@pytest.mark.slow
def test_papers_recipe_trains_evaluates_and_converts(manual, tmp_path):
    """The recipe of `zoo/groupnet_dsp.py`, smaller, from a classifier's weights."""
    small = ["num_bases=(1, 2)", "width=0.0625", "layout=two_stages"]
    backbone = tmp_path / "backbone.h5"
    config = override(
        load_recipe("groupnet_resnet18", ROOT / "zoo", "imagenet2012"),
        map(split_option, [*small, "output_stride=8"]),
    ).model
    keras.utils.set_random_seed(1)  # Other weights than the recipe's seed gives.
    classifier = build(config.replace(input_shape=(64, 64, 3)))
    classifier.save_weights(backbone)
    run = tmp_path / "run"
    changes = ["input_shape=(64, 64, 3)", "base_size=64", "epochs=1", "steps_per_epoch=2"]
    changes += ["output_stride=4", "atrous_rates=(1, '2-6')"]
    words = [f"--set={change}" for change in [*small, *changes, "batch_size=2"]]
    words += [f"--start_from={backbone}", f"--data_dir={tmp_path}", f"--output_dir={run}"]
    done = command("train", "--model=groupnet_dsp", "--dataset=voc2012_aug", *words)
    assert done.returncode == 0, done.stderr

    recipe = json.loads((run / "recipe.json").read_text())
    (phase,) = recipe["phases"]
    assert (phase["learning_rate"], phase["head_factor"], phase["schedule"]) == (1e-4, 10, "poly")
    # Every labelled pixel of VOC's validation images counts once, at the images' own size.
    labels = [voc_labels(name) for name in VOC_VAL]
    expected = sum(np.bincount(label[label < 255], minlength=21) for label in labels)
    results = json.loads((run / "results.json").read_text())
    matrices = np.load(run / "results-confusion.npz")
    for where in ("keras", "lce"):
        np.testing.assert_array_equal(matrices[where].sum(axis=1), expected)
    assert results["ops"]["LceBconv2d"] == 2 + 2 * 3
    assert list(results["keras"]["iou"]) == list(voc.CLASS_NAMES)
    # Two steps of 1e-4 move no latent weight further.
    trained = read_weights(run / "binary-last.h5")
    name = "stage2_block1_base2_conv1"
    before = classifier.get_layer(name).kernel.latent_variable.numpy()
    (after,) = (value for key, value in trained.items() if f"{name}/kernel" in key)
    assert 0 < np.abs(after - before).max() < 2.1e-4


@pytest.mark.slow
def test_released_recipe_trains_judges_centres_and_converts(manual, tmp_path):
    """The recipe of `zoo/groupnet_dsp.py`, smaller, at a size that the stride does not divide."""
    recipe = load_recipe("groupnet_dsp", ROOT / "zoo", "voc2012_released")
    assert recipe.model.atrous_rates == "released" and recipe.phases[0].decay_all
    changes = ["num_bases=1", "width=0.0625", "layout=two_stages", "output_stride=4"]
    changes += ["atrous_rates=(1, 4)", "epochs=1", "steps_per_epoch=2", "batch_size=2"]
    changes += ["input_shape=(45, 45, 3)", "base_size=60", "start_from="]
    recipe = override(recipe, map(split_option, changes))
    train_and_judge(recipe, tmp_path, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["ops"]["RESIZE_BILINEAR"] == 1
    # The middle 20 of 30 columns, resized to 45 x 45; each row and column counts 2 or 3 times.
    middle = np.stack([voc_labels(name)[:, 5:25] for name in VOC_VAL])
    counted = np.load(tmp_path / "run" / "results-confusion.npz")["lce"].sum()
    assert abs(counted / 45**2 - (middle < 255).mean() * len(VOC_VAL)) < 0.2
