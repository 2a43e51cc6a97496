"""A run is judged separately from training: on all images, a sample, or other datasets."""

import json

import numpy as np
import pytest

from larq_groupnet import cli
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading
from larq_groupnet.deploy import runtime
from larq_groupnet.deploy.flatbuffer import load_interpreter
from larq_groupnet.deploy.runtime import load_file
from larq_groupnet.runs.lock import holding
from larq_groupnet.runs.saved import load_run


def examples(count, seed):
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (count, 24, 24, 1), np.uint8), np.arange(count) * 4 // count


@pytest.fixture
def run(label_run, tmp_path):
    """A run folder, and three datasets with sorted labels, one with another class."""
    names = ["background", "cat", "dog", "cat and dog"]
    splits = {"train": examples(8, 0), "validation": examples(8, 1)}
    from_arrays("judged", **splits, test=examples(30, 2), class_names=names)
    from_arrays("another", **splits, test=examples(10, 3), class_names=names)
    from_arrays("stranger", **splits, test=examples(10, 3), class_names=[*names[:3], "horse"])
    for file in label_run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe, "dataset": "arrays:judged"}))
    (tmp_path / "history.csv").write_text(
        "epoch,phase,loss,val_loss,accuracy,val_accuracy\n0,b,1,1,0,0\n"
    )
    return tmp_path


def test_both_engines_judge_the_sample_that_was_asked_for(run, capsys):
    words = ["judge", str(run), "--samples=7", "--threads=2", "--both_engines"]
    assert cli.main([*words, "--also=arrays:another", "--data_dir=nowhere"]) == 0
    out = capsys.readouterr().out
    assert "7 of 30 test images" in out and "LCE's interpreter" in out
    results = json.loads((run / "results.json").read_text())
    assert (results["images"], results["of"]) == (7, 30)
    images, labels = examples(30, 2)
    chosen = [number for number in range(30) if number * 7 % 30 < 7]
    assert len(chosen) == 7 and len({*labels[chosen]}) == 4
    # By hand: crop the central three quarters, scale to [-1, 1].
    data = Pipeline(
        from_arrays(
            "by-hand",
            train=(images, labels),
            validation=(images[chosen], labels[chosen]),
            class_names=results_classes(results),
        ),
        Reading((24, 24), central_crop=0.75),
        7,
    )
    batch = next(iter(data.eval_batches("validation")))[0].numpy()
    right = (load_run(run)(batch).numpy().argmax(-1) == labels[chosen]).mean()
    assert results["keras"]["accuracy"] == pytest.approx(right)
    assert results["lce"]["accuracy"] == pytest.approx(right, abs=0.15)
    found = load_interpreter(run / "model.tflite").predict(batch).argmax(-1)
    assert results["interpreter"]["accuracy"] == pytest.approx((found == labels[chosen]).mean())
    assert results["engine"] == "larq-groupnet-runtime"
    also = results["also"]["arrays:another"]
    assert (also["images"], also["of"]) == (7, 10)
    line = next(line for line in out.splitlines() if "another accuracy (top-1)" in line)
    columns = [also[engine]["accuracy"] for engine in ("keras", "lce", "interpreter")]
    assert [float(cell) for cell in line.split("|")[2:-1]] == pytest.approx(columns, abs=5e-5)


def results_classes(results):
    return list(results["keras"]["recall"])


def test_file_computes_the_same_on_any_number_of_threads(dense_file):
    images = np.random.RandomState(0).uniform(-1, 1, (5, 32, 32, 3)).astype("f4")
    expected = load_file(dense_file).predict(images)
    for threads in (1, 2, 8):
        found = load_file(dense_file, threads).predict(images)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples=none"], "samples: expected all or a number of test images"),
        (["--strategy=multi_worker"], "unknown strategy 'multi_worker'"),
        (["--also=arrays:stranger"], "'cat and dog' as class 3. Received: 'horse'"),
    ],
)
def test_what_cannot_be_judged_is_one_line(run, words, message, capsys):
    before = sorted(run.iterdir())
    assert cli.main(["judge", str(run), *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path for path in run.iterdir() if path.name != ".lock") == before


@pytest.mark.parametrize("what", ["digits", "{run}/recipe.json", "{run}/binary.h5"])
def test_what_is_no_folder_of_a_run_is_one_line(run, what, capsys):
    assert cli.main(["judge", what.format(run=run)]) == 2
    assert "judge: expected the folder of a run. Received: " in capsys.readouterr().err


def test_second_engine_is_not_left_out_in_silence(run, capsys, monkeypatch):
    before = (run / "results.json").stat().st_mtime_ns
    monkeypatch.setattr(runtime, "Interpreter", None)
    assert cli.main(["judge", str(run), "--both_engines"]) == 2
    assert "Received: only LCE's interpreter" in capsys.readouterr().err
    assert (run / "results.json").stat().st_mtime_ns == before


def test_run_that_is_being_trained_is_not_judged(run, capsys):
    with holding(run):
        assert cli.main(["judge", str(run)]) == 2
    assert "held by process" in capsys.readouterr().err
