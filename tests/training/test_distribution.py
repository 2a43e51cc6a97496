"""Two workers over loopback: an end if one dies. `test_replicas` has them stop and resume."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from runs import command, wait_for

from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.reading import Reading
from larq_groupnet.training import RecipeError
from larq_groupnet.training.distribution import Runtime, gone, open_strategy

OPTIONS = (
    "--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.0625 --set=layout=two_stages"
    " --set=output_stride=2 --set=mixup=0.2 --epochs=0,2 --set=steps_per_epoch=8"
).split()


def start(data_dir, output_dir, cluster):
    """A process for each address of a cluster."""
    words = [*OPTIONS, f"--data_dir={data_dir}", f"--output_dir={output_dir}"]
    processes = []
    for index in range(len(cluster)):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": cluster}, "task": task})
        processes.append(
            subprocess.Popen(
                [sys.executable, "tests/train_only.py", *words],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def addresses():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    found = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return found


@pytest.mark.slow
def test_worker_that_dies_is_named_and_the_run_resumes(digits, tmp_path):
    cluster = addresses()
    chief, other = start(digits, tmp_path / "run", cluster)
    wait_for(chief, "Epoch 2/2")
    wait_for(chief, r"\b\d+/8")
    other.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, errors = chief.communicate(timeout=90)
    assert time.monotonic() - killed < 60
    assert chief.returncode == 1
    assert f"cannot reach worker 1 ({cluster[1]}), dead or cut off" in errors.splitlines()[-1]
    other.communicate()
    words = [f"--data_dir={digits}", f"--output_dir={tmp_path / 'run'}"]
    again = command("train", *OPTIONS, *words, judge=False)
    assert again.returncode == 0, again.stderr
    assert "Resuming in epoch 2" in again.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"binary.h5", "history.csv", "recipe.json"} <= names
    assert not [name for name in names if name.startswith(".")]


def test_shares_of_two_workers_are_the_batch_of_one(digits):
    import tensorflow as tf

    data = Pipeline(prepare("digits", digits), Reading((16, 16)), 8, seed=1)
    whole = list(data.train_batches(3).take(6).as_numpy_iterator())
    shares = [
        list(data.train_batches(3, context=context).take(6).as_numpy_iterator())
        for context in (tf.distribute.InputContext(2, index, 2) for index in range(2))
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        for column in (0, 1):
            np.testing.assert_array_equal(batch[column][::2], parts[0][column])
            np.testing.assert_array_equal(batch[column][1::2], parts[1][column])


def test_workers_that_do_not_answer_are_named():
    from types import SimpleNamespace

    with socket.create_server(("127.0.0.1", 0)) as alive:
        cluster = [f"127.0.0.1:{alive.getsockname()[1]}", *addresses()]
        resolver = SimpleNamespace(cluster_spec=lambda: spec)
        spec = SimpleNamespace(as_dict=lambda: {"worker": cluster})
        strategy = SimpleNamespace(cluster_resolver=resolver)
        assert gone(strategy) == f"worker 1 ({cluster[1]}) and worker 2 ({cluster[2]})"
        del cluster[1:]
        assert gone(strategy) == "another worker"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strategy": "multiworker"}, "Did you mean 'multi_worker'"), ({"precision": "f16"}, "mixed")],
)
def test_wrong_runtime_says_what_is_right(options, message):
    with pytest.raises(RecipeError, match=message):
        Runtime(**options)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}']
)
def test_wrong_cluster_says_what_is_right(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RecipeError, match='"worker": \\["a:2222", "b:2222"\\]'):
        open_strategy("multi_worker")
