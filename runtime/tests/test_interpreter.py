"""`Interpreter` against LCE's own interpreter, and what it refuses."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import CLASSES, photo, rewritten
from larq_groupnet_runtime import InputError, Interpreter, load_delegate


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def by_lce(file, x):
    import larq_compute_engine as lce

    interpreter = lce.testing.Interpreter(file.read_bytes(), use_reference_bconv=True)
    return interpreter.predict(x)


@pytest.mark.parametrize("name", ["labels", "grey", "pixels"])
def test_predict_computes_what_lce_computes(name, request):
    file = request.getfixturevalue(name)
    network = Interpreter(file)
    x = noise(5, *network.inputs[0].shape[1:])
    expected = by_lce(file, x)
    found = network.predict(x)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_predict_takes_any_number_of_samples(labels):
    network = Interpreter(labels.read_bytes(), num_threads=1)
    x = noise(7, 24, 32, 3)
    one_by_one = np.concatenate([network.predict(x[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(network.predict(x), one_by_one)
    network.resize((3, 24, 32, 3))
    assert network.inputs[0].shape == (3, 24, 32, 3)
    assert network.outputs[0].shape == (3, 4)
    np.testing.assert_allclose(network.predict(x), one_by_one, atol=1e-5)


def test_resize_to_another_image_size(pixels):
    network = Interpreter(pixels)
    before = network.predict(noise(1, 32, 32, 3))
    with pytest.raises(
        InputError, match=r"resize: expected 4 whole sizes above 0, now \(1, 32, 32, 3\)"
    ):
        network.resize((1, 32, 32))
    with pytest.raises(InputError, match="resize: expected 3 channels.* Received: 4, in"):
        network.resize((1, 32, 32, 4))
    np.testing.assert_array_equal(network.predict(noise(1, 32, 32, 3)), before)


def test_resize_refuses_sizes_for_which_the_file_gives_others(pixels):
    """It enlarges its logits to 32 x 32, whatever it reads."""
    network = Interpreter(pixels)
    with pytest.raises(InputError, match=r"Received: \(1, 64, 64, 3\), for which it gives \(1, 32"):
        network.resize((1, 64, 64, 3))
    assert network.inputs[0].shape == (1, 32, 32, 3)
    assert network.scores(photo(40, 50)).shape == (40, 50, 4)
    network.resize((2, 32, 32, 3))
    assert network.outputs[0].shape == (2, 32, 32, 4)


def test_errors_of_the_interpreter_are_said_once(labels):
    network = Interpreter(labels)
    found = []
    for _ in range(2):
        with pytest.raises(InputError, match="resize: expected a shape that .* with") as caught:
            network.resize((2**31 - 1, 24, 32, 3))
        found.append(str(caught.value))
    assert found[0] == found[1] and found[0].count("Node number") == 1
    assert ". Node number" in found[0] and "\n" not in found[0]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (None, "expected floats"),
        ([[1], [2, 3]], "predict: expected an array. Received: "),
        (noise(24, 32, 3), r"expected an array of shape \(n, 24, 32, 3\). Received: shape=\(24, "),
        (noise(2, 24, 32, 1), r"shape \(n, 24, 32, 3\)"),
        (noise(0, 24, 32, 3), r"shape \(n, 24, 32, 3\)"),
        (np.zeros((1, 24, 32, 3), np.uint8), "expected floats; preprocess.* Received: dtype=uint8"),
        (np.zeros((1, 24, 32, 3), complex), "expected floats"),
        (np.full((1, 24, 32, 3), np.nan, np.float32), "numbers that float32 holds. Received: 2304"),
        (np.full((1, 24, 32, 3), 1e300), "expected numbers that float32 holds. Received: 2304"),
    ],
)
def test_predict_refuses_in_one_sentence(labels, x, expected):
    with pytest.raises(InputError, match=expected):
        Interpreter(labels).predict(x)


def test_predict_takes_float64(labels):
    x = noise(1, 24, 32, 3)
    network = Interpreter(labels)
    np.testing.assert_array_equal(network.predict(x.astype(np.float64)), network.predict(x))


def test_int8_file_reads_and_gives_floats(int8):
    network = Interpreter(int8)
    x = noise(4, *network.inputs[0].shape[1:])
    assert network.inputs[0].dtype == np.int8 and network.inputs[0].scale > 0
    from larq_groupnet.deploy import predict_int8

    expected = predict_int8(int8, x)
    step = network.outputs[0].scale
    found = network.predict(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1.01 * step)
    stored = np.clip(
        np.rint(x / network.inputs[0].scale + network.inputs[0].zero_point), -128, 127
    ).astype(np.int8)
    np.testing.assert_array_equal(network.predict(stored), found)


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    from larq_groupnet import GroupNetConfig, build
    from larq_groupnet.deploy import convert_int8, quantize

    config = GroupNetConfig(
        input_shape=(32, 32, 3), num_classes=4, num_bases=1, width=0.25, stage_blocks=(1, 1, 1, 1)
    )
    x = noise(8, 32, 32, 3)
    path = tmp_path_factory.mktemp("networks") / "int8.tflite"
    return convert_int8(quantize(build(config), x), path, data=x)


def test_file_without_lce_operations_runs_as_without_this_package(plain):
    import tensorflow as tf

    x = noise(3, 8, 8, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the deletion of tf.lite.
        stock = tf.lite.Interpreter(str(plain))
    stock.allocate_tensors()
    expected = []
    for one in x:
        stock.set_tensor(stock.get_input_details()[0]["index"], one[None])
        stock.invoke()
        expected.append(stock.get_tensor(stock.get_output_details()[0]["index"]))
    found = Interpreter(plain, backend="tensorflow").predict(x)
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_scores_and_details_come_from_the_description(labels, pixels, plain):
    network = Interpreter(labels)
    assert network.classes == tuple(CLASSES)
    assert network.inputs[0].shape == (1, 24, 32, 3) and network.inputs[0].dtype == np.float32
    image = photo(50, 70)
    expected = network.predict(network.preprocess(image))[0]
    np.testing.assert_array_equal(network.scores(image), expected)
    assert Interpreter(pixels).scores(image).shape == (50, 70, 4)
    with pytest.raises(InputError, match="expected a normalisation, symmetric or imagenet"):
        Interpreter(plain).scores(image)
    assert Interpreter(plain).scores(image, normalisation="symmetric").shape == (5,)


def test_scores_are_those_of_predict_of_the_main_package(labels, pixels):
    from larq_groupnet.inference.sources import load_predictor

    for file in (labels, pixels):
        image = photo(50, 70)
        expected = load_predictor(file)(image)
        found = Interpreter(file).scores(image)
        same = found.argmax(-1) == expected.argmax(-1)
        assert same.mean() >= 0.999
        # A sign within rounding of 0 flips now and then.
        assert np.median(np.abs(found - expected)) < 1e-4


@pytest.mark.parametrize("said", [{"temperature": 50}, {"output": "logits", "temperature": 0.4}])
def test_probabilities_are_tempered_as_in_the_main_package(labels, said, tmp_path):
    from larq_groupnet.deploy.description import read_description
    from larq_groupnet.inference.sources import load_predictor

    content = labels.read_bytes()
    file = tmp_path / "model.tflite"
    file.write_bytes(rewritten(content, {**read_description(content), **said}))
    image = photo(50, 70)
    found = Interpreter(file).scores(image)
    np.testing.assert_allclose(found, load_predictor(file)(image), rtol=1e-3)
    assert found.sum() == pytest.approx(1)
    assert np.abs(found - Interpreter(labels).scores(image)).max() > 1e-3


@pytest.mark.parametrize("content", [b"", b"no flatbuffer", b"\x1c\0\0\0TFL3" + bytes(8)])
def test_what_is_no_file_is_refused_in_one_line(content):
    with pytest.raises(InputError, match="these bytes: expected a") as caught:
        Interpreter(content)
    assert "\n" not in str(caught.value)


def test_file_is_a_path_bytes_or_an_open_file(labels, tmp_path):
    content = labels.read_bytes()
    expected = Interpreter(labels).predict(noise(1, 24, 32, 3))
    with labels.open("rb") as file:
        for given in (str(labels), bytearray(content), memoryview(content), file):
            np.testing.assert_array_equal(Interpreter(given).predict(noise(1, 24, 32, 3)), expected)
    os.mkfifo(tmp_path / "pipe.tflite")
    for wrong, message in [
        (None, "expected a .tflite file: a path, bytes or an open file. Received: NoneType"),
        ("a\0b", "expected a path. Received: 'a.x00b': embedded null"),
        ("~no user/a", "expected a path. Received: '~no user/a'"),
        (tmp_path, "expected a .tflite file. Received: a folder"),
        (tmp_path / "pipe.tflite", "expected a .tflite file. Received: a pipe"),
        (file, "expected a .tflite file. Received: .*closed file"),
    ]:
        with pytest.raises(InputError, match=message):
            Interpreter(wrong)


@pytest.mark.parametrize("threads", [0, -1, 65, "2", 2.0])
def test_num_threads_is_a_number_that_the_engine_takes(labels, threads):
    with pytest.raises(InputError, match="^num_threads: expected a whole number from 1 to 64"):
        Interpreter(labels, num_threads=threads)


def test_machine_with_more_cpus_than_the_engine_has_threads(labels, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(96)))
    assert Interpreter(labels).num_threads == 64


@pytest.mark.parametrize("options", [{"kernel": "sse"}, {"kernel": "\udcff"}, {"size": 1}])
def test_options_of_the_engine_are_refused_without_blaming_the_file(labels, options):
    with pytest.raises(InputError, match="^larq-groupnet-runtime: .*expected"):
        Interpreter(labels, **options)


@pytest.mark.parametrize("shape", [(2.5, 24, 32, 3), ("2", 24, 32, 3), 5, (2**31, 24, 32, 3)])
def test_resize_takes_whole_sizes(labels, shape):
    with pytest.raises(InputError, match="resize: expected 4 whole sizes above 0"):
        Interpreter(labels).resize(shape)


def test_scales_are_used_or_refused(labels, pixels):
    with pytest.raises(InputError, match="scales: expected a network that classifies pixels"):
        Interpreter(labels).scores(photo(20, 20), scales=[0.5])
    network = Interpreter(pixels)
    for wrong in ([0], [-1], [9], [float("nan")], [1e-9], [None], ["1"], 0.5, "1", [[1]], [1] * 17):
        with pytest.raises(InputError, match="scales: expected at most 16 numbers in .0.01, 8"):
            network.scores(photo(20, 20), scales=wrong)
    expected = network.scores(photo(20, 20), scales=[0.5, 1])
    found = network.scores(photo(20, 20), scales=np.array([0.5, 1]))
    np.testing.assert_array_equal(found, expected)


def test_values_that_a_file_does_not_compute_with_are_refused():
    import tensorflow as tf

    table = tf.constant([1.0, 2.0])
    gather = tf.function(
        lambda x: tf.gather(table, x), input_signature=[tf.TensorSpec((1,), tf.int32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([gather.get_concrete_function()])
    network = Interpreter(converter.convert())
    assert network.predict(np.array([1], np.int32)) == [2]
    for _ in range(2):
        with pytest.raises(InputError, match="inputs that it computes with. Received: gather") as e:
            network.predict(np.array([7], np.int32))
        assert str(e.value).count("Node number") == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_engine_and_interpreter_cannot_be_copied(labels, copied):
    with pytest.raises(TypeError, match="make another with load_delegate"):
        copied(load_delegate())
    with pytest.raises(TypeError, match="make another of its file"):
        copied(Interpreter(labels))


def in_a_child(compute):
    """True if a forked child ends in time, and what it computes is true."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        right = False
        try:
            right = compute()
        finally:
            os._exit(0 if right else 1)
    return os.waitpid(child, 0)[1] == 0


def test_predict_after_a_fork(labels):
    network = Interpreter(labels, num_threads=2)
    network.resize((2, 24, 32, 3))
    x = noise(2, 24, 32, 3)
    expected = network.predict(x)
    assert in_a_child(lambda: np.array_equal(network.predict(x), expected))


def test_threads_of_a_child_share_an_interpreter(pixels, monkeypatch):
    """One of them loads the file again, the others wait for it."""
    network = Interpreter(pixels, num_threads=2)
    inputs = np.random.default_rng(1).standard_normal((4, 9, 32, 32, 3)).astype(np.float32)
    expected = [network.predict(x) for x in inputs]

    class Slow(network._interpreter):
        def allocate_tensors(self):
            time.sleep(0.3)
            super().allocate_tensors()

    monkeypatch.setattr(network, "_interpreter", Slow)

    def right(number):
        return np.array_equal(network.predict(inputs[number]), expected[number])

    def compute():
        with ThreadPoolExecutor(4) as pool:
            return all(pool.map(right, range(4)))

    assert in_a_child(compute)


def test_child_of_a_fork_ends_whether_it_uses_the_network_or_not(labels):
    networks = [Interpreter(labels, num_threads=2)]
    networks[0].predict(noise(1, 24, 32, 3))

    def compute():
        networks.clear()
        gc.collect()
        return True

    assert in_a_child(compute)
    assert in_a_child(lambda: networks[0].predict(noise(1, 24, 32, 3)) is not None and compute())


def test_child_of_a_fork_has_the_inputs_of_its_parent(two):
    network = Interpreter(two, num_threads=2)
    for one, value in zip(network.interpreter.get_input_details(), (1, 2), strict=True):
        network.interpreter.set_tensor(one["index"], np.full((1, 4), value, np.float32))

    def compute():
        network.invoke()
        found = network.interpreter.get_tensor(network.interpreter.get_output_details()[0]["index"])
        return np.array_equal(found, np.full((1, 4), 3, np.float32))

    assert in_a_child(compute)


def test_threads_may_share_an_interpreter(labels):
    network = Interpreter(labels, num_threads=2)
    inputs = np.random.default_rng(1).standard_normal((4, 1, 24, 32, 3)).astype(np.float32)
    expected = [network.predict(x) for x in inputs]

    def right(number):
        return all(
            np.array_equal(network.predict(inputs[number]), expected[number]) for _ in range(99)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(right, range(4)))


def test_interpreters_in_threads_do_not_disturb_each_other(labels, pixels):
    files = [labels, pixels, labels, pixels]
    inputs = [noise(1, *Interpreter(file).inputs[0].shape[1:]) for file in files]
    expected = [Interpreter(file).predict(x) for file, x in zip(files, inputs, strict=True)]
    wrong = []

    def run(number):
        network = Interpreter(files[number], num_threads=2)
        for _ in range(30):
            if not np.array_equal(network.predict(inputs[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_load_delegate_serves_one_s_own_interpreter(labels):
    from ai_edge_litert.interpreter import Interpreter as LiteRT

    own = LiteRT(str(labels), num_threads=1, experimental_delegates=[load_delegate(num_threads=1)])
    own.allocate_tensors()
    x = noise(1, 24, 32, 3)
    own.set_tensor(own.get_input_details()[0]["index"], x)
    own.invoke()
    found = own.get_tensor(own.get_output_details()[0]["index"])
    expected = Interpreter(labels, num_threads=1, backend="ai-edge-litert").predict(x)
    np.testing.assert_array_equal(found, expected)


def test_child_of_a_fork_ends_with_one_s_own_interpreter(labels):
    from ai_edge_litert.interpreter import Interpreter as LiteRT

    engines = [load_delegate(num_threads=2)]
    own = [LiteRT(str(labels), num_threads=1, experimental_delegates=list(engines))]
    own[0].allocate_tensors()
    own[0].invoke()

    def compute():
        own.clear()
        engines.clear()
        return True

    assert in_a_child(compute)


_BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from larq_groupnet_runtime.backends import find_backend
try: print(find_backend({name!r}).name)
except Exception as error: print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("blocked", "name", "expected"),
    [
        (("tflite_runtime",), None, "ai-edge-litert"),
        (("ai_edge_litert", "tflite_runtime"), None, "tensorflow"),
        (("ai_edge_litert",), "tensorflow", "tensorflow"),
        (
            ("ai_edge_litert", "tflite_runtime", "tensorflow"),
            None,
            "InputError expected ai-edge-litert, tflite-runtime or tensorflow in this environment: "
            "run `pip install ai-edge-litert`. Received: not installed",
        ),
        (
            ("ai_edge_litert",),
            "ai-edge-litert",
            "InputError expected ai-edge-litert in this environment: run `pip install "
            "ai-edge-litert`. Received: not installed",
        ),
        ((), "onnx", "InputError backend: expected one of ai-edge-litert, tflite-runtime, "),
    ],
)
def test_backend_is_the_first_that_is_installed(blocked, name, expected):
    code = _BLOCKED.format(blocked=blocked, name=name)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().startswith(expected)
