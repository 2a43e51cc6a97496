"""`train.py` as a user runs it: artefacts and errors. tests/smoke runs it as a process."""

import csv
import json

import numpy as np
import pytest
from matplotlib.image import imread
from runs import command

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.data import digit_scenes
from larq_groupnet.data.pipeline import prepare
from larq_groupnet.deploy import count_ops, load_interpreter
from larq_groupnet.tasks.judgement import disagreement, no_better

TINY = (
    "--model=groupnet_dsp --epochs=1 --batch_size=8 --set=steps_per_epoch=3 --set=num_bases=1"
    " --set=width=0.0625 --set=layout=two_stages --set=output_stride=4 --set=atrous_rates=(1,2)"
).split()
SCENES = {"train": (32, 1), "validation": (8, 2), "test": (32, 3)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder with few scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "SPLITS", SCENES)
        prepare("digit_scenes", folder)
    return folder


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """The folder of a run. Its output is in the `.out` file beside it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = command("train", *TINY, f"--data_dir={data_dir}", f"--output_dir={folder}")
    assert done.returncode == 0, done.stderr
    folder.with_suffix(".out").write_text(done.stdout)
    folder.with_suffix(".err").write_text(done.stderr)
    return folder


def test_run_leaves_every_artefact_and_nothing_half_written(run):
    assert {path.name for path in run.iterdir()} == {
        "recipe.json", "history.csv", "logs", "tanh.h5", "binary.h5", "tanh-last.h5",
        "binary-last.h5",
        "model.tflite", "results.json", "results-confusion.npz", "curves.png", "predictions.png",
        "confusion.png", "snapshots", "run.json", "runtime.json",
    }  # fmt: skip
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["model"]["num_bases"] == 1
    assert recipe["model"]["width"] == 0.0625
    assert [phase["epochs"] for phase in recipe["phases"]] == [1, 1]
    for phase in ("tanh", "binary"):
        assert list((run / "logs" / phase).rglob("events.out*"))
    for picture in ("curves.png", "predictions.png", "confusion.png"):
        pixels = imread(run / picture)
        assert min(pixels.shape[:2]) > 300
        assert pixels.std() > 0.05


def test_table_and_the_results_say_the_same(run):
    results = json.loads((run / "results.json").read_text())
    table = run.with_suffix(".out").read_text()
    for where in ("keras", "lce"):
        assert f"{results[where]['miou']:.4f}" in table
        for metric in ("pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
            assert 0 < results[where][metric] < 1
            assert f"{results[where][metric]:.4f}" in table
        assert f"{results[where]['mean_boundary_f_score']:.4f}" in table
        assert np.load(run / "results-confusion.npz")[where].sum() == 32 * 96 * 96
        assert set(results[where]["boundary_f_score"]) == set(results[where]["iou"])
    # After six steps many scores are nearly tied, so a flipped sign can change a class.
    assert results["agreement"] >= 0.99
    assert abs(results["keras"]["miou"] - results["lce"]["miou"]) <= 0.002
    assert results["ops"]["LceBconv2d"] == 4 + 1
    assert results["lce"]["bytes"] == (run / "model.tflite").stat().st_size
    assert "Everything is in" in table


def test_screen_shows_progress_and_no_chatter(run):
    out, err = (run.with_suffix(end).read_text() for end in (".out", ".err"))
    assert "val_miou" in out
    assert "Phase tanh" in out
    assert "Testing" in err
    for chatter in (
        "oneDNN",
        "cuda",
        "CUDA",
        "TensorRT",
        "rebuild TensorFlow",
        "Warning",
        "saving_utils",
    ):
        assert chatter not in out + err


def test_history_has_a_row_for_each_epoch(run):
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["phase"] for row in rows] == ["tanh", "binary"]
    assert {"loss", "val_loss", "miou", "val_miou"} <= set(rows[0])


def test_run_can_be_loaded_as_the_documentation_says(run):
    recipe = json.loads((run / "recipe.json").read_text())
    config = GroupNetConfig.from_dict(recipe["model"])
    model = build(config, weights=run / "binary.h5")
    images = np.random.RandomState(0).uniform(-1, 1, (2, 96, 96, 3)).astype("f4")
    converted = load_interpreter(run / "model.tflite").predict(images)
    expected = model(images)
    assert np.mean(np.abs(converted - expected) < 1e-3) > 0.99
    build(config.replace(input_shape=(192, 192, 3)), weights=run / "binary.h5")


def test_file_of_a_run_is_binary_and_runs(run):
    assert count_ops(run / "model.tflite")["CONV_2D"] == 3
    logits = load_interpreter(run / "model.tflite").predict(np.zeros((1, 96, 96, 3), "f4"))
    assert logits.shape == (1, 96, 96, 11)
    assert np.isfinite(logits).all()


def test_evaluating_again_says_the_same(run, data_dir):
    out = run.with_suffix(".evaluated")
    words = [f"--data_dir={data_dir}", f"--evaluate={run}", f"--output_dir={out}"]
    done = command("train", *TINY, *words)
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "results.json").read_text())
    assert f"{results['keras']['miou']:.4f}" in done.stdout
    again = json.loads((out / "evaluation.json").read_text())["keras"]
    assert set(again) <= set(results["keras"])
    assert again["miou"] == pytest.approx(results["keras"]["miou"], abs=1e-4)
    assert f"{again['iou']['background']:.4f}" in done.stdout


def test_run_is_converted_audited_and_verified_by_command(run, data_dir, tmp_path):
    data = f"--data_dir={data_dir}"
    file = tmp_path / "small.tflite"
    done = command("convert", run, "--input_size=64,64", f"--output={file}", data)
    assert done.returncode == 0, done.stderr
    assert load_interpreter(file).input_shapes == [(1, 64, 64, 3)]
    done = command("audit", file)
    assert done.returncode == 0, done.stderr
    assert "nothing found" in done.stdout
    words = ["verify", run, run / "model.tflite", "--samples=2", data]
    done = command(*words, f"--output={tmp_path / 'check'}")
    assert done.returncode == 0, done.stderr
    assert "On 2 samples" in done.stdout
    assert {path.name for path in (tmp_path / "check").iterdir()} == {
        "input.bin", "expected_output.bin", "verify.json",
    }  # fmt: skip
    done = command("verify", run, file, "--samples=2", data)
    assert done.returncode == 2
    assert "expected samples of shape (n, 64, 64, 3)" in done.stderr


@pytest.mark.parametrize(
    ("lce", "agreement", "integers", "bad"),
    [
        (0.7005, 0.9995, 0, False),
        (0.7030, 0.9995, 0, True),
        (0.7005, 0.9960, 0, False),  # CamVid has 0.9970.
        (0.7005, 0.9945, 0, True),
        (0.7090, 0.9, 1, False),
        (0.7110, 0.9995, 1, True),
    ],
)
def test_file_that_disagrees_is_reported(lce, agreement, integers, bad):
    results = {"keras": {"miou": 0.7}, "lce": {"miou": lce}, "agreement": agreement}
    results |= {"headline": "miou", "unit": "pixels", "macs": {"8": integers}}
    assert bool(disagreement(results)) is bad


@pytest.mark.parametrize(
    ("images", "differ", "lost", "bad"),
    [
        (24, 1, 1, False),
        (24, 2, 0, True),
        (24, 2, 2, True),
        (1000, 20, 9, False),
        (1000, 21, 0, True),
    ],
)
def test_one_of_few_images_may_differ(images, differ, lost, bad):
    keras, lce = {"accuracy": 0.75}, {"accuracy": 0.75 - lost / images}
    results = {"keras": keras, "lce": lce, "agreement": (images - differ) / images}
    results |= {"headline": "accuracy", "unit": "images", "macs": {}, "images": images}
    assert bool(disagreement(results)) is bad


@pytest.mark.parametrize(("low", "poor"), [(0.12, True), (0.34, False)])
def test_result_that_a_constant_answer_may_have_too_is_named(low, poor):
    keras = {
        "accuracy": 0.5,
        "interval": [low, 0.7],
        "baseline": {"class": "cup", "accuracy": 1 / 3},
    }
    results = {"keras": keras, "headline": "accuracy", "task": "classification"}
    assert bool(no_better(results)) is poor


@pytest.mark.parametrize(("miou", "poor"), [(0.4, True), (0.6, False)])
def test_result_of_one_photo_is_compared_without_an_interval(miou, poor):
    keras = {"miou": miou, "baseline": {"class": "background", "miou": 0.45}}
    results = {"keras": keras, "headline": "miou", "task": "segmentation"}
    assert bool(no_better(results)) is poor


@pytest.mark.parametrize(("low", "high", "bad"), [(0.67, 0.83, False), (0.73, 0.77, True)])
def test_miou_of_few_photos_may_differ_by_a_twentieth_of_its_interval(low, high, bad):
    keras = {"miou": 0.75, "interval": [low, high]}
    results = {"keras": keras, "lce": {"miou": 0.755}, "agreement": 0.998}
    results |= {"headline": "miou", "unit": "pixels", "macs": {}, "images": 6}
    assert bool(disagreement(results)) is bad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=groupnet_dps"], "Did you mean 'groupnet_dsp'"),
        (["--modle=groupnet_dsp"], "Did you mean: model"),
        (["--model=groupnet_dsp", "--dataset=digit_scene"], "Did you mean 'digit_scenes'"),
        (
            ["--model=groupnet_dsp", "--dataset=digits"],
            "model: expected a network for the labels of digits",
        ),
        (["--model=groupnet_dsp", "--phase=binry"], "Did you mean 'binary'"),
        (["--model=groupnet_dsp", "--start_from=nowhere"], "Received: nowhere"),
        (["--model=groupnet_dsp", "--evaluate=nowhere"], "nowhere: expected a run's folder"),
        (["--model=groupnet_dsp", "--set=numbases=1"], "Did you mean 'num_bases'"),
        (["--model=groupnet_dsp", "--set=num_bases"], "expected key=value"),
        (["--model=groupnet_dsp", "--batch_size=many"], "expected an integer"),
        (["--model=groupnet_dsp", "--set=num_classes=12"], "expected 11"),
        (["--model=groupnet_dsp", "--set=kernel_quantizer=ste_tern"], "binary kernels"),
        (["--model=groupnet_dsp", "--set=width=1e999"], "leaves 1 of 64 channels"),
        (["--model=groupnet_dsp", "extra"], "expected only flags"),
        ([], "--model"),
    ],
)
def test_wrong_command_is_one_line_status_2_and_writes_nothing(tmp_path, arguments, message):
    folders = [f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'run'}"]
    done = command("train", *arguments, *folders)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = command("train", "--model=groupnet_dsp", f"--output_dir={tmp_path}", "--data_dir=unused")
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
