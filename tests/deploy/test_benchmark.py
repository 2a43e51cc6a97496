"""Benchmark: real files in real processes, costs against known counts, every refusal by name."""

import dataclasses
import os
import sys
import time

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.deploy import benchmark as module
from larq_groupnet.deploy import benchmark_worker as worker
from larq_groupnet.deploy import op_costs
from larq_groupnet.deploy.benchmark import BenchmarkError, benchmark, main, table
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.errors import UserError

layers = tf.keras.layers

DENSE = 1 << 20
"""Weights of the dense layer of `real`."""


def converted(model, path):
    path.write_bytes(to_tflite(model))
    return path


def binary_conv(filters, **options):
    return lq.layers.QuantConv2D(
        filters,
        3,
        padding="same",
        pad_values=1.0,
        input_quantizer="ste_sign",
        kernel_quantizer="ste_sign",
        use_bias=False,
        **options,
    )


def model(size, *parts):
    inputs = x = layers.Input(size)
    for part in parts:
        x = part(x)
    return tf.keras.Model(inputs, x)


@pytest.fixture(scope="module")
def models():
    """Binary ones after a real one, one large real product, and a grouped convolution."""
    return {
        "binary": model(
            (16, 16, 3),
            layers.Conv2D(40, 5, 2, padding="same"),
            layers.DepthwiseConv2D(3),
            # Its output is read by a sign only, so it is written packed: 72 signs in 3 words.
            binary_conv(72, strides=2),
            layers.BatchNormalization(),
            binary_conv(32, dilation_rate=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ),
        "real": model((1, 1, 1024), layers.Dense(DENSE // 1024)),
        "grouped": model((8, 8, 64), binary_conv(64, groups=2)),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory, models):
    folder = tmp_path_factory.mktemp("files")
    return {name: converted(m, folder / f"{name}.tflite") for name, m in models.items()}


def test_multiplications_are_those_of_the_network(files, models):
    costs = op_costs.count(files["binary"])
    profile = lq.models.ModelProfile(models["binary"])
    real = sum(cost.macs for name, cost in costs.items() if name != "LceBconv2d")
    assert costs["LceBconv2d"].macs == profile.op_count("mac", 1)
    assert real == profile.op_count("mac", 32)
    assert set(costs) >= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert op_costs.count(files["grouped"])["LceBconv2d"].macs == 8 * 8 * 64 * 9 * 32
    assert op_costs.count(files["real"])["FULLY_CONNECTED"].macs == DENSE


def test_elements_are_what_is_written(files):
    costs = op_costs.count(files["grouped"])
    assert costs["LceBconv2d"].elements == 8 * 8 * 64
    # 64 signs are two words.
    assert costs["LceQuantize"].elements == 8 * 8 * 2
    assert op_costs.count(files["binary"])["LceBconv2d"].elements == 3 * 3 * (3 + 32)


def test_files_side_by_side(files, monkeypatch):
    asked = []
    ask = module._Worker.ask

    def recorded(self):
        asked.append(self._file.stem)
        return ask(self)

    monkeypatch.setattr(module._Worker, "ask", recorded)
    start = time.perf_counter()
    binary, real, grouped = benchmark([files[n] for n in ("binary", "real", "grouped")], 5)
    elapsed = time.perf_counter() - start
    # One question each for the kernel, then strictly in turns.
    assert asked[:2] == ["binary", "grouped"]
    assert asked[2:] == ["binary", "real", "grouped"] * (module._WARM_UP + 5)
    for one in (binary, real, grouped):
        assert len(one.seconds) == 5
        assert 0 < min(one.seconds) <= one.quartiles[0] <= one.median <= one.quartiles[1]
        assert sum(one.seconds) < elapsed
        assert len(one.cpu) == 5
        # One thread has at most one CPU; the clocks are read one after the other.
        assert 0 < one.cpu_share < 1.5
        assert one.size == one.file.stat().st_size
    assert binary.kernel in worker.KERNELS
    assert real.kernel == "-"
    # LCE's default kernel does not load grouped convolutions.
    assert set(grouped.refused) >= {"default"}
    assert grouped.kernel in ("indirect", "reference")
    # The parent, with TensorFlow, holds hundreds of MiB; the weights are 4 MiB.
    weights = 4 * DENSE
    assert weights < real.memory < 4 * weights
    assert 0 < grouped.memory < weights


def test_ratio_is_of_the_same_round():
    seconds = np.array([1.0, 2.0, 30.0])
    first = module.Measurement("a", 1, "-", {}, tuple(seconds), (1.0,), 1, ())
    second = dataclasses.replace(first, seconds=tuple(seconds[[0, 1, 2]] * (2, 2, 0.1)))
    assert second.ratio(first) == 2
    assert first.ratio(first) == 1


class Kernels:
    """Interpreters that need `seconds`, answer `values`, or do not load."""

    def __init__(self, seconds, values):
        self.seconds, self.values = seconds, values

    def __call__(self, content, threads, reference, indirect, xnnpack):
        names = {flags: name for name, flags in worker.KERNELS.items()}
        kernel = names[reference, indirect]
        if kernel not in self.values:
            raise RuntimeError("not for this file")
        fake = type("Fake", (), {"input_shapes": [(1, 2)], "input_types": [np.float32]})()

        def predict(inputs):
            time.sleep(self.seconds[kernel])
            return [np.array(self.values[kernel])]

        fake.predict = predict
        return fake


@pytest.mark.parametrize(
    ("values", "chosen", "refused"),
    [
        ({"default": [1.0], "indirect": [1.0], "reference": [1.0]}, "default", set()),
        ({"default": [1.1], "indirect": [1.0], "reference": [1.0]}, "indirect", {"default"}),
        ({"default": [np.nan], "indirect": [1.0], "reference": [1.0]}, "indirect", {"default"}),
        ({"default": [1.1], "reference": [1.0]}, "reference", {"default", "indirect"}),
    ],
)
def test_fastest_correct_kernel(monkeypatch, values, chosen, refused):
    seconds = {"default": 0.0, "indirect": 0.02, "reference": 0.04}
    monkeypatch.setattr(worker, "_interpreter_class", lambda: Kernels(seconds, values))
    answer = worker._choose(b"")
    assert answer["kernel"] == chosen
    assert set(answer["refused"]) == refused


def test_bad_files_are_named(files, tmp_path):
    content = files["binary"].read_bytes()
    bad = {
        "text": b"no flatbuffer at all",
        "half": content[: len(content) // 2],
        "unknown": content.replace(b"LceBconv2d", b"XceBconv2d"),
        "refused": content.replace(b"LceQuantize", b"XceQuantize"),
    }
    for name, wrong in bad.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{name}.tflite") as error:
            benchmark([files["real"], path], 1)
        assert "Received" in str(error.value)
        if name in ("unknown", "refused"):
            assert "unresolved custom op: Xce" in str(error.value)
    with pytest.raises(OSError, match="absent.tflite"):
        benchmark([tmp_path / "absent.tflite"], 1)


def test_crash_is_an_error(files):
    with module._Worker("run", files["binary"], "default") as process:
        process.ask()
        process._process.kill()
        with pytest.raises(BenchmarkError, match=r"binary\.tflite.* ended with status"):
            process.ask()


@pytest.mark.parametrize("wrong", [{"files": []}, {"files": "a.tflite"}, {"runs": 0}])
def test_wrong_arguments(files, wrong):
    with pytest.raises(ValueError, match="at least one"):
        benchmark(**{"files": [files["real"]], "runs": 1, **wrong})


def test_output_says_what_it_is(files, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    main([str(files["grouped"]), str(files["real"])], 2)
    output = capsys.readouterr().out
    assert "x86_64. LCE is not optimised" in output
    assert "ARM is what counts" in output
    assert "use_indirect_bgemm" in output
    assert "grouped.tflite: default: " in output
    assert "has no profiler" in output
    assert "1.000" in output
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    main([str(files["real"])], 1)
    assert "not optimised" not in capsys.readouterr().out


def test_busy_machine_is_named(files, monkeypatch, capsys):
    (measured,) = benchmark([files["real"]], 1)
    for cpu, busy in ((2.0, False), (1.0, True)):
        found = [dataclasses.replace(measured, seconds=(2.0,), cpu=(cpu,))]
        monkeypatch.setattr(module, "benchmark", lambda *_, found=found, **__: found)
        main(["any"], 1)
        output = capsys.readouterr().out
        assert ("real.tflite had the CPU for only 50%" in output) == busy
        assert ("idle machine" in output) == busy


SUMMARY = """
Profiling Info for Benchmark Initialization:
============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t         AllocateTensors\t        1\t     9.999\t   100.000%\t   100.000%\t     0.000\t        1

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t              LceBconv2d\t        1\t     1.250\t    50.000%\t    50.000%\t     0.000\t        1
\t             LceQuantize\t        1\t     1.000\t    40.000%\t    90.000%\t     0.000\t        1
\t                   EXTRA\t        1\t     0.250\t    10.000%\t   100.000%\t     0.000\t        1

Timings (microseconds): count=2 first=2500 curr=2500 min=2500 max=2500 avg=2500 std=0
"""  # noqa: E501


def profiler(folder, text, status=0):
    """A program that prints `text` and keeps its arguments; the real one is for ARM only."""
    path = folder / "lce_benchmark_model"
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"open({str(folder / 'arguments')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
        f"print({text!r})\nsys.exit({status})\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name != "posix", reason="scripts")
def test_times_per_operation(files, tmp_path, monkeypatch, capsys):
    path = profiler(tmp_path, SUMMARY)
    (measured,) = benchmark([files["grouped"]], 1, profiler=path)
    times = {op.name: op.milliseconds for op in measured.ops}
    assert times == {"LceBconv2d": 1.25, "LceQuantize": 1.0, "EXTRA": 0.25}
    arguments = (tmp_path / "arguments").read_text().split()
    assert f"--graph={files['grouped']}" in arguments
    assert "--enable_op_profiling=true" in arguments
    for flag, kernel in (("indirect_bgemm", "indirect"), ("reference_bconv", "reference")):
        assert f"--use_{flag}={str(measured.kernel == kernel).lower()}" in arguments
    assert "50.0%" in table([measured])
    monkeypatch.setenv("PATH", str(tmp_path))
    main([str(files["grouped"])], 1)
    assert f"Times per operation: {path}" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="scripts")
@pytest.mark.parametrize(
    ("text", "status"), [(SUMMARY, 1), ("Failed to load", 0)], ids=["status", "text"]
)
def test_failing_profiler(files, tmp_path, text, status):
    path = profiler(tmp_path, text, status)
    with pytest.raises(BenchmarkError, match="lce_benchmark_model"):
        benchmark([files["real"]], 1, profiler=path)
