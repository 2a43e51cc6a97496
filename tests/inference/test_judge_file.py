"""`evaluate` judges any file on any dataset of its classes, with the predictions of `predict`."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from runs import without_description
from sklearn.metrics import confusion_matrix

from larq_groupnet import cli
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.images import read_image
from larq_groupnet.errors import DatasetError, RecipeError
from larq_groupnet.inference.judge_file import judge_file
from larq_groupnet.inference.sources import load_predictor
from larq_groupnet.tasks.tallies import SegmentationCounts, wilson_interval

CLASSES = ["background", "cat", "dog", "cat and dog"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of several sizes with class maps of four classes."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.RandomState(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    for number in range(6):
        size = random.randint(20, 50, 2)
        pixels = random.randint(0, 256, (*size, 3), "u1")
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        mask = Image.fromarray(random.randint(0, 4, size).astype("u1"))
        mask.save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture
def undrawn(monkeypatch):
    """Skips the pictures, which take a third of an evaluation."""
    for name in ("draw_confusion", "draw_predictions"):
        monkeypatch.setattr(f"larq_groupnet.report.pictures.{name}", lambda *_: None)


@pytest.mark.parametrize("source", ["dense_run", "dense_file"])
def test_maps_of_a_run_and_of_its_file_are_judged_as_predicted(source, photos, request, tmp_path):
    source = str(request.getfixturevalue(source))
    words = ["evaluate", source, f"folder:{photos}", "--split=all", f"--output={tmp_path / 'out'}"]
    assert cli.main(words) == 0
    results = json.loads((tmp_path / "out/evaluation.json").read_text())
    predictor, truths, found = load_predictor(source), [], []
    for file in (photos / "images").iterdir():
        found.append(predictor(read_image(file).numpy()).argmax(-1).ravel())
        with Image.open(photos / "masks" / file.name) as mask:
            truths.append(np.asarray(mask).ravel())
    expected = confusion_matrix(np.concatenate(truths), np.concatenate(found), labels=range(4))
    stored = np.load(tmp_path / "out/evaluation-confusion.npz")["keras"]
    np.testing.assert_array_equal(stored, expected)
    assert results["keras"]["pixel_accuracy"] == np.trace(expected) / expected.sum()
    for name in ("confusion.png", "predictions.png"):
        with Image.open(tmp_path / "out" / name) as drawn:
            assert drawn.width > 300


@pytest.mark.usefixtures("undrawn")
def test_evaluation_of_a_part_of_a_folder_points_at_the_rest(dense_file, photos, tmp_path, capsys):
    words = ["evaluate", str(dense_file), f"folder:{photos}", f"--output={tmp_path / 'out'}"]
    for more, others in ([], True), (["--split=test"], False), (["--split=all"], False):
        assert cli.main([*words, *more]) == 0
        assert ("5 images not judged; --split=all" in capsys.readouterr().out) == others


@pytest.mark.usefixtures("undrawn")
def test_a_file_that_does_not_say_how_images_are_read_is_told(dense_file, photos, tmp_path):
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(without_description(dense_file))
    known, told = (
        judge_file(str(file), f"folder:{photos}", tmp_path, "all", normalisation=normalisation)
        for file, normalisation in ((dense_file, None), (bare, "imagenet"))
    )
    words = ["evaluate", str(bare), f"folder:{photos}", "--split=all", "--normalisation=symmetric"]
    assert cli.main([*words, f"--output={tmp_path / 'out'}"]) == 0
    other = np.load(tmp_path / "out/evaluation-confusion.npz")["keras"].tolist()
    assert known["keras"]["confusion"] == told["keras"]["confusion"] != other


def test_labels_are_judged_on_the_split_that_is_named(label_run, tmp_path):
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (90, 24, 24, 1), "u1"), np.arange(90) % 4
    dataset = from_arrays("judged", (images, labels), class_names=CLASSES)
    one, whole = (
        np.sum(judge_file(str(label_run), dataset.name, tmp_path, split)["keras"]["confusion"])
        for split in ("test", "all")
    )
    assert (one, whole) == (dataset.sizes["test"], 90)


def test_other_classes_truths_and_datasets_are_refused(dense_file, label_run, photos, tmp_path):
    with pytest.raises(RecipeError, match="expected the dataset to judge on"):
        judge_file(str(dense_file), None, tmp_path)
    with pytest.raises(DatasetError, match="4 classes of images.*masks"):
        judge_file(str(label_run), f"folder:{photos}", tmp_path)
    (photos / "classes.txt").write_text("\n".join(reversed(CLASSES)))
    with pytest.raises(DatasetError, match="expected the classes of .*'background' as class 0"):
        judge_file(str(dense_file), f"folder:{photos}", tmp_path)
    (photos / "classes.txt").write_text("\n".join(CLASSES))


def test_bad_images_of_a_dataset_without_files_cannot_be_skipped(label_run, tmp_path, capsys):
    words = ["evaluate", str(label_run), "digits", "--on_bad_image=skip"]
    assert cli.main([*words, f"--output={tmp_path / 'out'}"]) == 2
    assert re.search("expected 'error' with a dataset .*digits", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_wilson_interval_is_that_of_his_paper():
    # The solutions of (p - x)^2 = z^2 x (1 - x) / n for 22 of 24.
    low, high = wilson_interval(22, 24)
    for end in (low, high):
        assert (22 / 24 - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 24, rel=1e-5)
    assert low < 22 / 24 < high


def test_interval_of_maps_covers_new_images_and_counts_images_not_pixels():
    random = np.random.RandomState(0)
    rates = random.beta(8, 4, 400)  # Share of right pixels in each image.

    def counts(rates):
        tally = SegmentationCounts(2)
        for rate in rates:
            truth = random.randint(0, 2, (20, 20))
            tally.add(truth, np.where(random.rand(20, 20) < rate, truth, 1 - truth))
        return tally

    truth = counts(rates).miou
    covered = [
        low <= truth <= high
        for start in range(0, 400, 20)
        for low, high in [counts(rates[start : start + 20]).to_dict(["a", "b"])["interval"]]
    ]
    assert np.mean(covered) >= 0.8


@pytest.fixture
def skipping_run(dense_run, photos, tmp_path):
    """A run that skips a broken photo, and the photos."""
    photos = shutil.copytree(photos, tmp_path / "photos")
    for folder in ("images", "masks"):
        (photos / folder / "broken.png").write_bytes(b"no picture")
    run = shutil.copytree(dense_run, tmp_path / "run")
    recipe = json.loads((run / "recipe.json").read_text())
    recipe |= {"dataset": f"folder:{photos}", "on_bad_image": "skip"}
    (run / "recipe.json").write_text(json.dumps(recipe))
    return run, photos


@pytest.mark.filterwarnings("ignore:left out")
def test_int8_says_what_it_costs_on_validation_images(skipping_run, tmp_path, capsys):
    run, photos = skipping_run
    file = tmp_path / "int8.tflite"
    words = ["convert", str(run), f"--output={file}", "--int8", "--samples=2"]
    assert cli.main(words) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    found = [
        judge_file(str(source), f"folder:{photos}", tmp_path, "validation", None, "skip")
        for source in (file, run)
    ]
    found = [results["keras"]["miou"] for results in found]
    assert f"1 validation image: {found[0]:.4f}, as floats {found[1]:.4f}" in line
    assert f"cost {found[1] - found[0]:+.4f}" in line


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("what", ["run", "file"])
def test_run_is_judged_on_its_own_data_as_it_was_trained(
    skipping_run, dense_file, tmp_path, capsys, what
):
    run, photos = skipping_run
    shutil.copy(dense_file, run / "model.tflite")
    source = run if what == "run" else run / "model.tflite"
    words = ["evaluate", str(source), f"--data_dir={tmp_path}", f"--output={tmp_path / 'out'}"]
    assert cli.main(words) == 0
    judge_file(str(source), f"folder:{photos}", tmp_path)
    assert cli.main([*words, "--on_bad_image=error"]) == 2
    assert "broken.png" in capsys.readouterr().err
