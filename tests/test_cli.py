"""The command line without a subprocess: its flags, what it calls, what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from larq_groupnet import cli, commands
from larq_groupnet.cli.table import Command
from larq_groupnet.errors import RecipeError
from larq_groupnet.files import replacing
from larq_groupnet.recipes import load_recipe, override

SMALL = [("width", "0.0625"), ("stage_blocks", "(1,1,1,1)"), ("num_bases", "1")]

OTHER = {
    "model": "groupnet_resnet34",
    "dataset": "imagenet2012",
    "recipe": "imagenet2012",
    "input_size": "32,32",
    "set": "width=0.5",
    "data_dir": "elsewhere",
    "output_dir": "taken",
    "start_from": "there",
    "phase": "binary",
    "int8_epochs": "3",
    "on_bad_image": "skip",
    "epochs": "7",
    "batch_size": "9",
    "seed": "5",
    "learning_rate": "0.5",
    "strategy": "one_device",
    "mixed_precision": "mixed_bfloat16",
    "jit_compile": "true",
    "nondeterministic": "true",
    "steps_per_execution": "5",
    "snapshot_steps": "6",
    "snapshot_minutes": "2.5",
    "log_steps": "8",
    "scale_learning_rate": "true",
    "profile": "10,20",
    "judge": "100",
    "tuner": "bayesian",
    "objective": "frontier",
    "max_trials": "4",
    "uniform": "1,2",
    "trial_epochs": "2",
    "max_ops": "1e9",
    "max_memory": "1e9",
    "max_binary_macs": "1e9",
}
"""A value other than the default of every flag of `train` but those that choose the mode."""


@pytest.fixture
def run_folder(tmp_path):
    """The files of a run that are read before a network is built."""
    recipe = override(load_recipe("groupnet_resnet18"), SMALL)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    (folder / "binary.h5").touch()
    return folder


@pytest.fixture
def calls(monkeypatch):
    """Records the calls of the command line instead of running them."""
    from larq_groupnet.inference import evaluate
    from larq_groupnet.training import run
    from larq_groupnet.tuning import search

    made = []

    def record(*arguments, **named):
        made.append(repr((arguments, sorted(named.items()))))
        raise RecipeError("recorded")

    monkeypatch.setattr(run, "run", record)
    monkeypatch.setattr(evaluate, "evaluate_only", record)
    monkeypatch.setattr(search, "search", record)
    monkeypatch.setattr("larq_groupnet.runs.folders.new_folder", lambda name: Path("new") / name)
    return made


def modes(folder):
    model = ["--model=groupnet_resnet18"]
    return {
        "train": model,
        "tune": [*model, "--tune"],
        "evaluate": [f"--evaluate={folder}"],
        "resume": [f"--resume={folder}"],
    }


@pytest.mark.parametrize("mode", commands.MODES)
def test_every_flag_of_train_is_obeyed_or_refused(mode, calls, run_folder, capsys, monkeypatch):
    assert {*OTHER, "help", "h", "tune", "evaluate", "resume"} == set(cli.COMMANDS["train"].flags())
    base = modes(run_folder)[mode]
    ignored = []
    for flag, value in OTHER.items():
        before = [word for word in base if not word.startswith(f"--{flag}=")]
        calls.clear()
        assert cli.main(["train", *base]) == 2
        assert capsys.readouterr().err == "larq-groupnet: recorded\n"
        assert cli.main(["train", *before, f"--{flag}={value}"]) == 2
        said = capsys.readouterr().err
        refused = "recorded" not in said
        if refused:
            assert flag in said or value.split("=")[-1] in said, said
        elif calls[0] == calls[1]:
            ignored.append(flag)
    # An evaluation writes to its output folder after the call.
    assert ignored == (["output_dir"] if mode == "evaluate" else [])


@pytest.fixture
def both(monkeypatch, tmp_path):
    """Gives the networks that `summary` counts and `train` trains for the same flags."""
    from larq_groupnet.network import complexity
    from larq_groupnet.training import run

    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (128, 128), (i, 0, 0)).save(tmp_path / f"photos/{name}/{i}.png")
    counted, trained = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(complexity, "report", lambda config: counted.append(config) or "")

    def record(recipe, *_):
        trained.append(recipe.model)
        raise RecipeError("recorded")

    monkeypatch.setattr(run, "train_weights", record)

    def compare(model, *words):
        counted.clear(), trained.clear()
        status = cli.main(["summary", model, *words])
        assert cli.main(["train", f"--model={model}", *words]) == 2
        return status, counted, trained

    return compare


@pytest.mark.parametrize(
    "words",
    [
        "groupnet_resnet18 --dataset=folder:photos",
        "groupnet_resnet18 --dataset=folder:photos --start_from=none",
        "groupnet_resnet18 --dataset=folder:photos --start_from=cifar10",
        "groupnet_resnet18 --dataset=folder:photos --set=start_from=cifar10 --set=width=0.5",
        "groupnet_resnet18 --dataset=folder:photos --start_from=camvid --input_size=64,96",
        "groupnet_resnet18 --dataset=folder:photos --start_from=cifar10_stride2 --phase=binary",
        "groupnet_resnet18 --start_from=digits --set=num_bases=5",
        "groupnet_resnet18 --set=start_from=digits",
        "groupnet_resnet18 --set=start_from=digits --set=width=0.25",
        "groupnet_dsp --dataset=camvid",
        "groupnet_dsp --dataset=camvid --start_from=none --set=width=0.5",
    ],
)
def test_summary_counts_the_network_that_train_trains(words, both):
    status, counted, trained = both(*words.split())
    assert status == 0 and counted == trained and len(counted) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--start_from=cifar10 --set=width=0.25", "width: 0.5 in the file, 0.25 in the model"),
        ("--start_from=cifar", "Did you mean 'cifar10'"),
        ("--start_from=nothing.h5", "nothing.h5: expected a run's folder"),
    ],
)
def test_summary_refuses_a_start_that_train_refuses(words, message, both, capsys):
    status, counted, _ = both("groupnet_resnet18", "--dataset=folder:photos", *words.split())
    assert status == 2 and not counted
    (line, *_) = [line for line in capsys.readouterr().err.splitlines() if "groupnet: " in line]
    assert message in line


def test_summary_counts_a_recipe_whose_own_start_is_not_on_this_machine(both, capsys, monkeypatch):
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", "nowhere")
    status, counted, trained = both("groupnet_dsp", "--dataset=voc2012")
    assert status == 0 and len(counted) == 1 and not trained
    said = capsys.readouterr()
    assert "the 'imagenet' weights, which are not on this machine" in said.out
    assert "import-checkpoint" in said.err
    # A run that has started.
    assert cli.main(["summary", "photos", "--start_from=none"]) == 2
    assert "Received: --start_from" in capsys.readouterr().err


def test_only_its_own_flags_are_in_the_help_of_a_command(capsys):
    assert cli.main(["convert", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--int8" in out and "--input_size" in out
    assert "--learning_rate" not in out and "--tuner" not in out
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--learning_rate" in out
    assert "or an option of the network; may be repeated." in out and "(default: )" not in out
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sumary"], "Did you mean 'summary'"),
        ([], ""),
        (["convert"], "expected RUN_OR_FILE_OR_NAME"),
        (["convert", "run", "--learning_rate=1"], "Unknown command line flag 'learning_rate'"),
        (["convert", "run", "--input_size=wide"], "expected height,width in pixels"),
        (["audit", "model.tflite", "--input_size=4,4"], "expected none for a converted file"),
        (["benchmark"], "expected FILE.tflite..."),
        (["predict", "run", "a.png", "--scales=a"], "numbers such as 0.5,1,1.5. Received: a"),
        (["predict", "run", "a.png", "--scales="], "numbers such as 0.5,1,1.5. Received:"),
        (["train", "--tune", "--uniform=1,,2"], "numbers such as 1,2,3. Received: 1,,2"),
        (["train"], "expected --model NAME"),
        (["train", "--tune", "--dataset=digits"], "expected --model NAME, a file of zoo/, to sear"),
        (["train", "--model=groupnet_dsp", "--tuner=random"], "Received: --tuner"),
        (["train", "--model=birealnet18", "--batch_size=4", "--batch_size=2"], "--batch_size"),
        (["train", "--model=birealnet18", "--data_dir=a", "--data_dir=b"], "--data_dir"),
        (["audit", "model.tflite", "--input_size=4,4", "--input_size=8,8"], "--input_size"),
        (["train", "--model=groupnet_dsp", "--tune", "--phase=tanh"], "Received: --phase"),
        (["train", "--resume=nowhere"], "with recipe.json"),
        (["train", "--evaluate=file.tflite"], "Received: a converted file"),
        (["train", "--evaluate=nowhere"], "nowhere: expected a run's folder"),
        (["weights", "list", "of", "them"], "expected list, fetch NAME MODEL"),
        (["weights", "fetch", "digts", "groupnet_resnet18"], "Did you mean 'digits'"),
        (["weights", "fetch", "digits", "groupnet_resnet"], "Did you mean 'groupnet_resnet18'"),
        (
            ["weights", "publish", "digits", "My"],
            "name: expected lower-case letters, digits, - and _",
        ),
        (["weights", "publish", "digits", "my.name"], "Received: 'my.name'"),
        (["import-checkpoint", "nothing.npz", "--as=My"], "Received: 'My'"),
        (["summary", "digts"], "unknown model 'digts'. Did you mean 'digits'"),
        (["summary", "groupnet_resnet18:digts"], "Did you mean 'groupnet_resnet18:digits'"),
        (["summary", str(ROOT / "docs")], "summary: expected a run's folder, with recipe.json"),
    ],
)
def test_wrong_command_is_one_line_and_status_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("larq_groupnet.family.build", None)  # Building takes seconds.
    assert cli.main(words) == (2 if words else 0)
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == bool(words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "nothing.tflite"],
        ["evaluate", "folder.tflite", "folder:x"],
        ["audit", "nothing.tflite"],
        ["predict", "nothing.tflite", "a.png"],
        ["benchmark", "nothing.tflite"],
        ["convert", "nothing/run"],
        ["verify", "nothing/run", "nothing.tflite"],
        ["summary", "nothing/run"],
    ],
)
def test_path_to_nothing_says_what_was_expected_and_what_to_do(
    words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.tflite").mkdir()
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"larq-groupnet: {words[1]}: expected a ")
    assert "Received: " in said and "Check the path" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "digits", "a.png", "--output=file"], "expected a folder .*Received: file, "),
        (["evaluate", "digits", "--output=file/in"], "Received: file/in, where .*file is a file"),
        (["verify", "digits", "a.tflite", "--output=file"], "expected a folder that can be"),
        (["convert", "digits", "--output=folder.tflite"], "expected a file that can be written"),
        (["convert", "digits", "--output=model"], "a name that ends in .tflite"),
        (["convert", "digits", "--output="], "a name that ends in .tflite"),
        (["convert", "whole.keras", "--int8"], "int8: expected a run or its weights"),
        (["convert", "whole.keras", "--samples=4"], "samples: expected a run or its weights"),
        (["weights", "list", "--output=here"], "output: expected with publish only"),
        (["weights", "verify", "--notest_images"], "test_images: expected with publish only"),
        (["weights", "list", "--command=x"], "command: expected with publish only"),
        (
            ["weights", "publish", "digits", "x", "--command=x"],
            "command: expected none for weights",
        ),
        (["weights", "publish", "digits", "x", "--output=file"], "expected a folder that can be"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.tflite").mkdir()
    tf.keras.Sequential([tf.keras.layers.InputLayer((4, 4, 1))]).save("whole.keras")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_whole_models_of_open_size_are_audited_and_converted_at_a_given_one(tmp_path, capsys):
    file, converted = tmp_path / "grey.keras", tmp_path / "grey.tflite"
    image = tf.keras.Input((None, None, 1))
    tf.keras.Model(image, tf.keras.layers.Conv2D(2, 3)(image)).save(file)
    assert cli.main(["audit", str(file)]) == 1
    assert cli.main(["audit", str(file), "--input_size=8,8"]) == 0
    assert cli.main(["convert", str(file), f"--output={converted}"]) == 2
    assert "or --input_size" in capsys.readouterr().err
    for said in ("verified", "replaced and verified"):
        assert cli.main(["convert", str(file), "--input_size=8,8", f"--output={converted}"]) == 0
        assert f"{converted}: {said} on noise" in capsys.readouterr().out
    assert converted.is_file()


def test_error_of_the_system_is_in_our_words(capsys, monkeypatch):
    def call(flags):
        raise PermissionError(13, "Permission denied", "there")

    monkeypatch.setitem(cli.COMMANDS, "locked", Command((), (), call))
    assert cli.main(["locked"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("larq-groupnet: there: expected ") and "Errno" not in said


def test_bare_resume_is_the_newest_run_of_the_model(calls, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--resume", "--model=groupnet_resnet18"]) == 2
    assert "runs/groupnet_resnet18-TIME" in capsys.readouterr().err
    for name in ("20260101-120000", "20260102-120000-7"):
        (tmp_path / "runs" / f"groupnet_resnet18-{name}").parent.mkdir(exist_ok=True)
        (tmp_path / "runs" / f"groupnet_resnet18-{name}").touch()
    assert cli.main(["train", "--model=groupnet_resnet18", "--resume"]) == 2
    assert "groupnet_resnet18-20260102-120000-7" in calls[0]


def test_home_is_expanded_in_every_path(calls, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--data_dir=~/d", "--output_dir=~/o", "--start_from=~/s", "--set=teacher=~/t"]
    words += ["--set=binary.soft_targets=0.5"]
    cli.main(["train", "--model=groupnet_resnet18", *words])
    for name in "dost":
        assert f"{tmp_path}/{name}" in calls[0]
    assert "~" not in calls[0]


def test_train_py_and_the_module_are_the_same_command():
    assert 'main(["train", *sys.argv[1:]])' in (ROOT / "train.py").read_text()
    assert "sys.exit(main())" in (ROOT / "larq_groupnet/__main__.py").read_text()


@pytest.mark.parametrize(
    ("dataset", "missing"),
    [
        ("voc2012_aug", "VOCtrainval_11-May-2012.tar, benchmark.tgz in"),
        ("cityscapes", "its archives in"),
        ("camvid", "CamVid with train.txt"),
    ],
)
def test_missing_archive_is_known_before_a_network_is_built(
    dataset, missing, tmp_path, capsys, monkeypatch
):
    """Building takes seconds, and TFDS would create folders first."""
    monkeypatch.setattr("larq_groupnet.recipes.fitting.build", None)
    monkeypatch.chdir(tmp_path)
    words = [f"--dataset={dataset}", "--set=start_from=", "--input_size=96,96"]
    for more in ([], ["--tune"]):
        assert cli.main(["train", "--model=groupnet_dsp", *words, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "downloads/manual" in line and missing in line
    assert not list(tmp_path.iterdir())


def test_warning_is_one_line_without_the_source_of_python(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").touch()
    words = ["summary", "groupnet_resnet18", f"--dataset=folder:{tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "larq_groupnet", *words], cwd=ROOT, capture_output=True, text=True
    )
    said = f"larq-groupnet: warning: {tmp_path}: left out 1 other file (cat/notes.txt)"
    assert done.returncode == 0
    assert said in done.stderr.splitlines() and "warnings.warn" not in done.stderr


def test_same_warning_from_elsewhere_is_not_said_again(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert cli.main(["summary", "groupnet_dsp"]) == 0
    said = [warnings.formatwarning(UserWarning("a"), UserWarning, "x.py", n) for n in (1, 2)]
    assert said == ["larq-groupnet: warning: a\n", ""]


def test_run_in_a_thread_leaves_signals_to_the_main_one(tmp_path):
    from larq_groupnet.runs.stopping import StopSignal

    def work():
        with StopSignal(tmp_path).at_once(), StopSignal(tmp_path).watching():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM])
def test_signal_leaves_no_half_written_file(signum, tmp_path, monkeypatch):
    def half(*_):
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            signal.raise_signal(signum)

    monkeypatch.setitem(cli.COMMANDS, "half", Command((), (), half))
    before = signal.signal(signum, signal.SIG_DFL)  # `nohup` may have ignored it.
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["half"])
        assert ended.value.code == 128 + signum
        assert not list(tmp_path.iterdir()) and signal.getsignal(signum) is signal.SIG_DFL
        signal.signal(signum, signal.SIG_IGN)
        assert cli.main(["half"]) == 0 and (tmp_path / "a.txt").read_text() == "half"
    finally:
        signal.signal(signum, before)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nothing_to_a_command(closed, tmp_path):
    command = f"{sys.executable} -m larq_groupnet weights list {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "standard output: expected to be written. Received: No space left on device."),
        (["train", "--help"], "standard output: expected to be written. Received: No space left"),
        (["weights", "list"], "standard output: expected to be written. Received: No space left"),
        (["nothing"], None),
    ],
)
def test_full_stream_ends_a_command_with_one_line(words, said):
    command = [sys.executable, "-m", "larq_groupnet", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        pipes["stdout" if said else "stderr"] = full
        done = subprocess.run(command, cwd=ROOT, **pipes, text=True, env=environment)
    assert done.returncode == 2
    if said:
        assert done.stderr.startswith(f"larq-groupnet: {said}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["-dash.png", "--output"])
def test_file_called_like_a_flag_is_told_how_to_be_named(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["predict", "run", "--normalisation", "imagenet", name]
    assert cli.main(words) == 2
    assert "for the file" not in capsys.readouterr().err
    (tmp_path / name).touch()
    assert cli.main(words) == 2
    assert capsys.readouterr().err.endswith(f"; for the file {name} write ./{name}\n")


def test_a_reader_that_has_enough_ends_a_command_without_a_word():
    command = [sys.executable, "-m", "larq_groupnet", "train", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
