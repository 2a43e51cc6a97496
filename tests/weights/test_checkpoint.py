"""The authors' checkpoints: what is read from the keys, and that the function stays the same."""

import contextlib
import functools
import itertools
import json
import pickle
import re
import subprocess
import sys
import tempfile
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from larq_groupnet import ConfigError, GroupNetConfig, GroupNetDSP
from larq_groupnet.deploy import audit, convert, count_ops, load_interpreter
from larq_groupnet.network.build import build
from larq_groupnet.weights import (
    CheckpointError,
    import_checkpoint,
    list_weights,
    metadata_of,
)
from larq_groupnet.weights.checkpoint import main
from larq_groupnet.weights.checkpoint_files import read_state
from larq_groupnet.weights.checkpoint_keys import describe
from larq_groupnet.weights.resolve import load_into
from tests.reference import random_images
from tests.reference.network import Network, Options

FIXTURES = ROOT.parent / "shared" / "fixtures"
# Variant -> does it have gates, does it have scales (and with them a bias in the stem).
VARIANTS = {
    "gates only": (True, False),
    "scales and gates": (True, True),
    "scales only": (False, True),
}
SIZE = (64, 32, 3)


def batch_norm_keys(name, width):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def keys(variant, bases=2, blocks=(1, 1, 1, 1), width=4, classes=5):
    """Key -> shape of a state dict, as the authors' released code names and shapes them."""
    gates, scales = VARIANTS[variant]
    shapes = {"conv1.weight": (width, 3, 7, 7), **batch_norm_keys("bn1", width)}
    if scales:
        shapes["conv1.bias"] = (width,)
    channels = width
    for stage, count in enumerate(blocks, 1):
        for index in range(count):
            block, inputs, channels = f"layer{stage}.{index}", channels, width << (stage - 1)
            for base in range(bases):
                shapes[f"{block}.conv1.{base}.weight"] = (channels, inputs, 3, 3)
                shapes[f"{block}.conv2.{base}.weight"] = (channels, channels, 3, 3)
                shapes |= batch_norm_keys(f"{block}.bn1.{base}", channels)
                shapes |= batch_norm_keys(f"{block}.bn2.{base}", channels)
                if scales:
                    shapes[f"{block}.scales.{base}"] = (1,)
            if inputs != channels:
                shapes[f"{block}.downsample.conv.weight"] = (channels, inputs, 1, 1)
                shapes |= batch_norm_keys(f"{block}.downsample.batch_norm", channels)
            if gates and block != "layer1.0":
                shapes[f"{block}.block_gate"] = (1,)
    return {**shapes, "fc.weight": (classes, channels), "fc.bias": (classes,)}


def draw(variant, **options):
    """Random float32 parameters; each binary kernel has another mean magnitude."""
    rng = np.random.default_rng(3)
    state = {}
    for key, shape in keys(variant, **options).items():
        signs = rng.choice([-1.0, 1.0], shape)
        if len(shape) == 4 and key != "conv1.weight":
            value = signs * rng.uniform(0.01, rng.uniform(0.2, 1.6), shape)
        elif key.endswith("running_var"):
            value = rng.uniform(0.5, 6.0, shape)
        elif key.endswith(".num_batches_tracked"):
            value = 7
        else:
            value = signs * rng.uniform(0.2, 1.3, shape)
        state[key] = np.asarray(value, "float32")
    return state


def save(path, state):
    np.savez(path, **state)
    return path


@functools.cache
def imported(variant):
    """A state dict that `draw` gives, and the model of it, which no test changes."""
    state = draw(variant)
    with tempfile.TemporaryDirectory() as folder:
        return state, import_checkpoint(save(f"{folder}/state.npz", state), input_shape=SIZE)


class Authors(Network):
    """The reference on a state dict: kernels scaled by alpha, and the quirk of one variant."""

    def __init__(self, state, variant, bases, blocks):
        self.quirk = variant == "gates only"
        gates, scales = VARIANTS[variant]
        options = Options(
            blocks=blocks,
            bases=(bases,) * 4,
            rates=((1,) * bases,) * 4,
            decomposition="gated" if gates else "group",
            aggregation="scales" if scales else "mean",
            padding="torch",
            stem_bias=scales,
        )
        super().__init__(keras_names(state, bases), options)

    def binary_conv(self, x, name, stride=1, rate=1):
        alpha = np.abs(self.get(f"{name}/kernel")).mean()
        return alpha * super().binary_conv(x, name, stride, rate)

    def gate(self, aggregate, own, name):
        if self.quirk:
            own = [sum(own), *own[1:]]
        return super().gate(aggregate, own, name)


def keras_names(state, bases):
    """A state dict under our names and in our layout, values untouched."""
    parts = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    params = {"logits/kernel:0": state["fc.weight"].T, "logits/bias:0": state["fc.bias"]}
    scales = {}
    for key, value in state.items():
        *path, part = key.split(".")
        if part == "num_batches_tracked":
            continue
        if value.ndim == 4:
            value, weight = value.transpose(2, 3, 1, 0), "kernel"
        else:
            weight = parts.get(part, "gamma")
        if path == ["conv1"]:
            params[f"stem_conv/{part.replace('weight', 'kernel')}:0"] = value
        elif path == ["bn1"]:
            params[f"stem_bn/{weight}:0"] = value
        if not path or not path[0].startswith("layer"):
            continue
        stage, index, *path = path
        block = f"stage{stage[-1]}_block{int(index) + 1}"
        if part == "block_gate":
            params[f"{block}_gate/theta:0"] = value
        elif path == ["scales"]:
            scales.setdefault(f"{block}_aggregate/scales:0", []).append(value)
        elif path[0] == "downsample":
            layer = "shortcut" if path[1] == "conv" else "shortcut_bn"
            for base in range(1, bases + 1):
                params[f"{block}_base{base}_{layer}/{weight}:0"] = value
        else:
            layer = path[0] if path[0].startswith("conv") else f"conv{path[0][-1]}_bn"
            params[f"{block}_base{int(path[1]) + 1}_{layer}/{weight}:0"] = value
    return params | {name: np.concatenate(values) for name, values in scales.items()}


def outputs_of(model, *names):
    return tf.keras.Model(model.input, [model.get_layer(name).output for name in names])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", VARIANTS)
def test_model_computes_what_the_reference_does(tmp_path, variant):
    blocks = (2, 1, 1, 1)
    state = draw(variant, blocks=blocks)
    images = random_images(2, *SIZE)
    expected = Authors(state, variant, 2, blocks).scores(images)
    assert np.std(expected) > 0.1
    model = import_checkpoint(save(tmp_path / "state.npz", state), input_shape=SIZE)
    logits = outputs_of(model, "logits")(images)
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model(images), tf.nn.softmax(expected), atol=1e-6)


def test_latent_kernels_stay_where_their_gradient_is_not_zero():
    state, model = imported("scales only")
    found = {
        f"stage{stage}_block1_base{base + 1}_conv{number}": state[key].transpose(2, 3, 1, 0)
        for stage, base, number in itertools.product((1, 2, 3, 4), (0, 1), (1, 2))
        if (key := f"layer{stage}.0.conv{number}.{base}.weight")
    }
    assert sum(np.abs(theirs).max() > 1 for theirs in found.values()) > 3
    for name, theirs in found.items():
        kernel = model.get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(kernel, np.clip(theirs, -1, 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_norm_keeps_its_meaning_while_training(variant):
    """Their statistics are of alpha * z, ours of z; gamma and beta, which are learned, stay."""
    state, model = imported(variant)
    layer = model.get_layer("stage3_block1_base2_shortcut_bn")
    alpha = np.abs(state["layer3.0.downsample.conv.weight"]).mean()
    gamma, beta, mean, variance = layer.get_weights()
    name = "layer3.0.downsample.batch_norm"
    np.testing.assert_array_equal(gamma, state[f"{name}.weight"])
    np.testing.assert_array_equal(beta, state[f"{name}.bias"])
    np.testing.assert_allclose(mean * alpha, state[f"{name}.running_mean"], rtol=1e-5)
    np.testing.assert_allclose(variance * alpha**2, state[f"{name}.running_var"], rtol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("layout", "blocks", "bases", "width"),
    [
        ("resnet18", (2, 2, 2, 2), 5, 64),
        ("resnet34", (3, 4, 6, 3), 11, 64),
        ("resnet18", (2, 1, 1, 1), 1, 24),
    ],
)
def test_everything_is_read_from_the_keys(variant, layout, blocks, bases, width):
    shapes = keys(variant, bases=bases, blocks=blocks, width=width, classes=7)
    state = {key: np.broadcast_to(np.float32(1), shape) for key, shape in shapes.items()}
    found, config = describe(state, (96, 64, 3))
    gates, scales = VARIANTS[variant]
    assert found == variant
    assert (config.layout, config.blocks, config.num_bases) == (layout, blocks, bases)
    assert (config.stage_blocks is None) == (sum(blocks) > 5)
    assert (config.stage_channels[0], config.num_classes) == (width, 7)
    assert (config.decomposition, config.blocks_per_group) == ("gated" if gates else "group", 1)
    assert config.aggregation == ("scales" if scales else "mean")
    assert config.first_base_sums == (not scales)
    assert config.stem_bias == scales
    assert (config.gate, config.shortcut, config.padding) == ("block", "conv", "torch")
    assert config.input_shape == (96, 64, 3)


def test_every_key_that_does_not_fit_is_named_in_one_error(tmp_path):
    state = draw("scales and gates", blocks=(2, 1, 1, 1))
    del state["layer2.0.downsample.conv.weight"], state["fc.bias"]
    del state["layer3.0.bn1.0.num_batches_tracked"]
    state["layer1.0.downsample.conv.weight"] = np.ones((4, 4, 1, 1), "float32")
    state["head.weight"] = np.ones(3, "float32")
    state["layer4.0.conv1.1.weight"] = state["layer4.0.conv1.1.weight"][:, :3]
    state["layer3.0.scales.0"] = np.float32(1)
    state["bn1.running_var"][2] = np.nan
    state["layer1.1.conv2.0.weight"][:] = 0
    with pytest.raises(CheckpointError) as error:
        import_checkpoint(save(tmp_path / "state.npz", state), input_shape=SIZE)
    header, problems = str(error.value).split(" differences: ")
    problems = problems.split("; ")
    assert "\n" not in str(error.value)
    assert isinstance(error.value, ValueError)
    assert "'scales and gates' with 2 bases, blocks (2, 1, 1, 1), 4 channels" in header
    assert header.endswith("Received 8")
    assert sorted(problems) == [
        "all zero, has no sign: layer1.1.conv2.0.weight",
        "missing: fc.bias (5,)",
        "missing: layer2.0.downsample.conv.weight (8, 4, 1, 1)",
        "not expected: head.weight (3,)",
        "not expected: layer1.0.downsample.conv.weight (4, 4, 1, 1)",
        "not finite: bn1.running_var",
        "wrong shape: layer3.0.scales.0 (), expected (1,)",
        "wrong shape: layer4.0.conv1.1.weight (32, 3, 3, 3), expected (32, 16, 3, 3)",
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_stem_bias_belongs_to_the_variants_with_scales(tmp_path, variant):
    state = draw(variant)
    found = "missing" if state.pop("conv1.bias", None) is not None else "not expected"
    if found == "not expected":
        state["conv1.bias"] = np.ones(4, "float32")
    with pytest.raises(CheckpointError, match=rf"1 differences: {found}: conv1.bias \(4,\)$"):
        import_checkpoint(save(tmp_path / "state.npz", state), input_shape=SIZE)


def test_gate_of_the_first_block_alone_makes_no_gated_network(tmp_path):
    state = draw("scales only") | {"layer1.0.block_gate": np.ones(1, "float32")}
    with pytest.raises(
        CheckpointError, match=r"'scales only'.*: not expected: layer1.0.block_gate \(1,\)$"
    ):
        import_checkpoint(save(tmp_path / "state.npz", state), input_shape=SIZE)


def test_another_network_is_refused(tmp_path):
    state = {"conv1.weight": np.ones((64, 3, 7, 7)), "layer1.0.conv1.weight": np.ones((64, 64))}
    with pytest.raises(CheckpointError) as error:
        import_checkpoint(save(tmp_path / "state.npz", state))
    assert "not expected: layer1.0.conv1.weight (64, 64)" in str(error.value)
    assert "missing: layer4.0.block_gate (1,)" in str(error.value)


def test_prefixes_and_hundredths_of_a_npz(tmp_path):
    state = draw("gates only", bases=1)
    binary = {k for k, v in state.items() if v.ndim == 4 and k != "conv1.weight"}
    hundredths = {k: np.clip(state[k] * 80, -127, 127).astype("int8") for k in binary}
    for key in binary:
        hundredths[key][hundredths[key] == 0] = 1
    plain = state | {k: v.astype("float32") / 100 for k, v in hundredths.items()}
    for prefix, share in (("param/", 1), ("int8/param/", 10)):
        packed = {f"{prefix}module.{k}": v for k, v in (state | hundredths).items()}
        packed["logits"] = np.zeros(3)
        found = read_state(save(tmp_path / "packed.npz", packed))
        assert found.keys() == plain.keys()
        for key, value in plain.items():
            expected = value / share if key in binary else value
            np.testing.assert_allclose(found[key], expected, rtol=1e-6)
    assert {*read_state(save(tmp_path / "plain.npz", plain))} == {*plain}


def test_result_is_saved_with_its_origin_and_licence(tmp_path, capsys):
    state = draw("gates only", bases=1)
    state["layer1.0.block_gate"] = np.ones(1, "float32")
    state["layer1.0.conv1.0.weight"][0, 0, 0, :2] = 0
    path = save(tmp_path / "theirs.npz", state)
    model = import_checkpoint(path, tmp_path / "new" / "weights", input_shape=SIZE)
    printed = capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["weights.h5", "weights.json"]
    values = json.loads((tmp_path / "new" / "weights.json").read_text())
    assert "General Public License" in values["licence"] and "non-commercial" in values["licence"]
    assert values["licence"] in printed
    assert values["origin"]["variant"] == "gates only"
    assert values["origin"]["file"] == "theirs.npz"
    first_gate, zeros, reading = values["origin"]["notes"]
    assert "does not say how images are normalised" in reading
    assert "layer1.0.block_gate" in first_gate and first_gate in printed
    assert zeros.startswith("2 binary kernel values are exactly 0") and zeros in printed
    again = build(GroupNetConfig.from_dict(values["config"]))
    load_into(
        again, metadata_of(tmp_path / "new" / "weights.h5").config, tmp_path / "new/weights.h5"
    )
    assert [w.name for w in again.weights] == [w.name for w in model.weights]
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.npz \(no such file\)"):
        import_checkpoint(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(CheckpointError, match=r"expected a .npz of numbers. Received: \S+broken"):
        import_checkpoint(tmp_path / "broken.npz")
    np.savez(tmp_path / "words.npz", **{"fc.bias": np.array(["a"])})
    with pytest.raises(CheckpointError, match="expected a .npz of numbers"):
        import_checkpoint(tmp_path / "words.npz")


def test_without_pytorch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.pth.tar").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install larq-groupnet\[torch\]") as error:
        import_checkpoint(tmp_path / "model.pth.tar")
    assert "\n" not in str(error.value)


class Tensor:
    """As much of `torch.Tensor` as an import may use."""

    def __init__(self, value):
        self.value = value

    def detach(self):
        return self

    def float(self):
        return Tensor(self.value.astype("float32"))

    def numpy(self):
        return self.value


@pytest.mark.parametrize("nested", [True, False])
def test_pytorch_is_asked_for_weights_only(tmp_path, monkeypatch, nested):
    state = draw("scales only")
    tensors = {f"module.{key}": Tensor(value) for key, value in state.items()}
    asked = []

    def load(path, **options):
        asked.append((path, options))
        return {"epoch": 3, "state_dict": tensors} if nested else tensors

    torch = types.SimpleNamespace(load=load, is_tensor=lambda x: isinstance(x, Tensor))
    monkeypatch.setitem(sys.modules, "torch", torch)
    path = tmp_path / "model.pth.tar"
    path.write_bytes(b"")
    found = read_state(path)
    assert asked == [(path, {"map_location": "cpu", "weights_only": True})]
    assert found.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)


def test_numpy_scalars_beside_the_state_dict_are_allowed(tmp_path, monkeypatch):
    """Read by an unpickler that takes what it is told to allow, and nothing else."""
    state = draw("scales only", bases=1)
    state["layer2.0.scales.0"] = np.float64(0.25)  # As one of the authors' loops leaves it.
    allowed = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if module == "_codecs":  # PyTorch allows it by itself, and arrays as tensors.
                return super().find_class(module, name)
            return allowed[f"{module}.{name}"]

    @contextlib.contextmanager
    def safe_globals(found):
        named = [f if isinstance(f, tuple) else (f, f"{f.__module__}.{f.__name__}") for f in found]
        allowed.update({name: value for value, name in named})
        yield

    def load(path, **options):
        with path.open("rb") as file:
            scalars = Unpickler(file).load()
        assert scalars == {"best": np.float64(0.5), "epoch": np.int64(3), "half": np.float16(2)}
        return {**scalars, "state_dict": state}

    torch = types.SimpleNamespace(
        load=load,
        is_tensor=lambda x: False,
        serialization=types.SimpleNamespace(safe_globals=safe_globals),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    path = tmp_path / "model.pth.tar"
    scalars = {"best": np.float64(0.5), "epoch": np.int64(3), "half": np.float16(2)}
    path.write_bytes(pickle.dumps(scalars, protocol=2))
    with pytest.raises(CheckpointError, match=r"wrong shape: layer2.0.scales.0 \(\)"):
        import_checkpoint(path, input_shape=SIZE)
    state["layer2.0.scales.0"] = np.array([0.25])
    assert read_state(path)["layer2.0.scales.0"] == 0.25
    path.write_bytes(pickle.dumps({"best": Malicious()}))
    with pytest.raises(CheckpointError, match="weights_only=True.*Save only its state_dict"):
        import_checkpoint(path, input_shape=SIZE)


def test_archive_that_would_fill_the_memory_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**24, "float32"))
    with pytest.raises(CheckpointError, match="it would unpack to 67108"):
        import_checkpoint(tmp_path / "bomb.npz")


def segmentation(state, classes=3):
    """The same network under the keys of the authors' segmentation code, with an FCN head."""
    rng = np.random.default_rng(5)
    found = {f"pretrained.{k}": v for k, v in state.items() if not k.startswith(("fc.", "conv1.b"))}
    last = state["fc.weight"].shape[1]
    head = {"0.weight": (last // 4, last, 3, 3), "4.weight": (classes, last // 4, 1, 1)}
    head |= {"4.bias": (classes,)}
    head |= {f"1.{part}": (last // 4,) for part in ("weight", "bias", "running_mean")}
    found |= {f"head.conv5.{k}": rng.normal(size=v).astype("float32") for k, v in head.items()}
    found["head.conv5.1.running_var"] = np.ones(last // 4, "float32")
    return found


def test_segmentation_checkpoint_becomes_a_groupnet_dsp(tmp_path, capsys):
    state, classifier = imported("scales and gates")
    path = save(tmp_path / "seg.npz", segmentation(state))
    rates = (1, 1, 2, (4, 3))
    about = {"input_shape": (64, 64, 3), "atrous_rates": rates, "dataset": "voc2012"}
    import_checkpoint(path, tmp_path / "seg", **about)
    assert "2-clause BSD for academic use" in capsys.readouterr().out
    model = GroupNetDSP(weights=tmp_path / "seg.h5")
    assert model.output_shape == (None, 64, 64, 3)
    known = metadata_of(tmp_path / "seg.h5")
    assert (known.dataset, known.config.atrous_rates) == ("voc2012", rates)
    reading = {"size": [64, 64], "normalisation": "imagenet", "scales": [1.0]}
    assert known.preprocessing == reading
    values = {weight.name: weight.numpy() for weight in classifier.weights}
    for weight in model.weights:
        if not weight.name.startswith("head_"):
            np.testing.assert_array_equal(weight.numpy(), values[weight.name])
    kernel = segmentation(state)["head.conv5.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("head_conv1").get_weights()[0], kernel)
    assert model.get_layer("stage4_block1_base2_conv2").dilation_rate == (3, 3)


def test_segmentation_checkpoint_needs_its_size_and_rates_and_an_fcn_head(tmp_path):
    state = segmentation(draw("scales and gates", bases=1))
    path = save(tmp_path / "seg.npz", state)
    for given in ({}, {"input_shape": (64, 64, 3)}, {"atrous_rates": (1, 1, 2, 4)}):
        with pytest.raises(CheckpointError, match="expected input_shape and atrous_rates with"):
            import_checkpoint(path, **given)
    other = {**state, "head.aspp.b0.0.weight": np.ones(1)}
    with pytest.raises(CheckpointError, match="DeepLab head has binary activations of 0 and 1"):
        import_checkpoint(save(tmp_path / "deeplab.npz", other))
    aux = {**state, "auxlayer.conv5.4.bias": np.ones(3), "pretrained.fc.bias": np.ones(3)}
    import_checkpoint(
        save(tmp_path / "aux.npz", aux), input_shape=(64, 64, 3), atrous_rates=(1, 1, 2, 4)
    )


def test_shared_shortcut_is_kept_for_training_and_computes_the_same(tmp_path):
    state = draw("scales and gates")
    path = save(tmp_path / "seg.npz", segmentation(state))
    about = {"input_shape": (45, 52, 3), "atrous_rates": "released", "first_rates": (1, 1, 2, 3)}
    one, each = (
        import_checkpoint(path, **about, shared_shortcut=shared) for shared in (True, False)
    )
    assert len(each.weights) - len(one.weights) == 3 * 5  # Of one base of three stages.
    assert one.get_layer("stage4_block1_base1_conv1").dilation_rate == (3, 3)
    images = random_images(2, 45, 52, 3).astype("float32")
    np.testing.assert_array_equal(one(images), each(images))
    classifier = save(tmp_path / "c.npz", draw("scales only"))
    with pytest.raises(CheckpointError, match="expected none with a classifier"):
        import_checkpoint(classifier, input_shape=SIZE, atrous_rates="released")


@pytest.mark.parametrize(
    ("classes", "given", "dataset", "reading"),
    [
        (5, {}, "", {}),
        (1000, {}, "imagenet2012", {"normalisation": "imagenet", "central_crop": 0.875}),
        (1000, {"dataset": "x", "normalisation": "symmetric"}, "x", {"normalisation": "symmetric"}),
    ],
)
def test_import_says_what_it_knows_of_its_data(
    tmp_path, monkeypatch, capsys, classes, given, dataset, reading
):
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    path = save(tmp_path / "s.npz", draw("scales only", bases=1, classes=classes))
    main(path, str(tmp_path / "w.h5"), "mine", input_shape=SIZE, **given)
    said = r"s.npz: scales only, [\d,]+ parameters -> \S+/w.h5, \S+/w.json$"
    assert re.search(said, capsys.readouterr().out.strip())
    known = metadata_of(tmp_path / "w.h5")
    assert (known.dataset, known.classes) == (dataset, ())
    assert known.preprocessing == {"size": [*SIZE[:2]], **reading}
    assert "whoever trained these weights" in known.licence
    (entry,) = list_weights("mine")
    assert entry.metadata == known
    (tmp_path / "w.json").unlink()
    assert metadata_of(tmp_path / "w.h5") == known


class Malicious:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def test_checkpoint_of_pytorch_is_read(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    state, expected = imported("scales and gates")
    tensors = {f"module.{key}": torch.from_numpy(value) for key, value in state.items()}
    content = {"epoch": 3, "arch": "resnet18", "state_dict": tensors}
    torch.save(content, tmp_path / "model.pth.tar")
    model = import_checkpoint(tmp_path / "model.pth.tar", input_shape=SIZE)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    torch.save({"state_dict": tensors, "extra": Malicious()}, tmp_path / "malicious.pt")
    with pytest.raises(CheckpointError, match="weights_only=True"):
        import_checkpoint(tmp_path / "malicious.pt", input_shape=SIZE)
    assert "code of the file ran" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="expected a state dict.*with a list"):
        import_checkpoint(tmp_path / "list.pt", input_shape=SIZE)


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, larq_groupnet.weights\nprint('tensorflow' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stage_blocks": (2, 2, 2)}, "None or 4 integers from 1 to 1000"),
        ({"stage_blocks": (2, 2, 0, 2)}, "None or 4 integers from 1 to 1000"),
        ({"stage_blocks": 2}, "None or 4 integers from 1 to 1000"),
        ({"first_base_sums": 1}, "False, True"),
        ({"first_base_sums": True, "decomposition": "group"}, "'gated' only"),
    ],
)
def test_options_of_imported_models_are_checked(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        GroupNetConfig(**changes)


def test_stage_blocks_survive_json():
    config = GroupNetConfig(stage_blocks=[2, 1, 1, 1])
    again = GroupNetConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and again.blocks == (2, 1, 1, 1)
    assert GroupNetConfig(layout="resnet34").blocks == (3, 4, 6, 3)


def check_agreement(values, expected):
    """Not exact: a value within rounding of 0 may flip its sign."""
    np.testing.assert_allclose(values, expected, atol=0.05, rtol=0)
    assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > 0.9999


def run_converted(model, images, folder):
    """What LCE computes. One real convolution, the stem; all others stay binary.

    LCE merges equal convolutions of one input, as the shortcuts that an import replicates are
    where all bases read the aggregate, so that the binary ones are not as many as in Keras.
    """
    path = convert(model, folder / "model.tflite")
    ops = count_ops(path)
    different = [layer for layer in model.layers if re.search(r"_conv\d$", layer.name)]
    assert ops["CONV_2D"] == 1 and ops["LceBconv2d"] >= len(different) >= 16
    return load_interpreter(path).predict(images)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_converted_model_agrees(tmp_path):
    """LCE merges the shortcuts of this variant."""
    logits = outputs_of(imported("scales only")[1], "logits")
    images = random_images(4, *SIZE).astype("float32")
    expected = logits(images).numpy()
    assert np.std(expected) > 0.1
    check_agreement(run_converted(logits, images, tmp_path), expected)


@functools.cache
def recorded(variant):
    """The model of a recording, its values and its images."""
    path = FIXTURES / f"official_{variant}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not distributed with the project: outputs of the authors' code")
    with np.load(path) as file:
        values = dict(file)
    images = np.random.RandomState(int(values["input_seed"])).randn(2, 3, 224, 224)
    images = images.astype("float32").transpose(0, 2, 3, 1)
    return import_checkpoint(path), values, images


@pytest.mark.parametrize("variant", ["gates_only", "scales_gates", "scales_only"])
def test_recorded_outputs_of_the_authors_code(variant):
    network, values, images = recorded(variant)
    model = outputs_of(network, "logits", "stage1_block1_aggregate", "stage4_block1_aggregate")
    logits, first, last = (output.numpy() for output in model(images))
    check_agreement(logits, values["logits"])
    corner = values["block_corner/layer1.0"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(first[:, :2, :2], corner, atol=1e-4, rtol=0)
    np.testing.assert_allclose(first.mean((1, 2)), values["block_mean/layer1.0"], atol=1e-4, rtol=0)
    check_agreement(last.mean((1, 2)), values["block_mean/layer4.0"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("variant", ["gates_only"])  # The one with the quirk.
def test_recorded_outputs_after_conversion(tmp_path, variant):
    network, values, images = recorded(variant)
    model = outputs_of(network, "logits")
    logits = run_converted(model, images, tmp_path)
    check_agreement(logits, model(images).numpy())
    check_agreement(logits, values["logits"])


@functools.cache
def recorded_segmentation():
    """The authors' segmentation network with an FCN head, and what its layers gave."""
    path = FIXTURES / "authors_fcn_r18.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not distributed with the project: outputs of the authors' code")
    with np.load(path) as file:
        values = {key: file[key] for key in file if "param/" not in key}
    size = int(values["size"])
    images = np.random.RandomState(int(values["input_seed"])).randn(2, 3, size, size)
    model = import_checkpoint(path, input_shape=(size, size, 3), atrous_rates="released")
    return model, images.astype("float32").transpose(0, 2, 3, 1), values


def test_recorded_segmentation_of_the_authors_code(tmp_path):
    """Issue 19: aggregates within 1e-5, scores within 2e-5, the same class for every pixel."""
    model, images, values = recorded_segmentation()
    blocks = [key for key in values if key.startswith("block_mean/")]
    names = [f"stage{key[16]}_block{int(key[18]) + 1}_aggregate" for key in blocks]
    outputs = [model.get_layer(name).output for name in ("stem_bn", *names, "head_conv2")]
    stem, *found, scores = tf.keras.Model(model.input, outputs)(images)
    means = dict(zip(["stem_mean", *blocks], [stem, *found], strict=True))
    for key, value in means.items():
        np.testing.assert_allclose(
            np.mean(value, (1, 2)), values[key], atol=1e-5, rtol=0, err_msg=key
        )
    expected = values["scores"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(scores, expected, atol=2e-5, rtol=0)
    logits, expected = model(images).numpy(), values["logits"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=0)
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))


@pytest.mark.slow
def test_recorded_segmentation_after_conversion(tmp_path):
    """Signs that flip by rounding move some scores, and nothing else may."""
    model, images, values = recorded_segmentation()
    path = convert(model, tmp_path / "model.tflite")
    assert audit(model, path.read_bytes()) == []
    logits, expected = load_interpreter(path).predict(images), values["logits"]
    expected = expected.transpose(0, 2, 3, 1)
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.999
    assert np.mean(logits.argmax(-1) == expected.argmax(-1)) > 0.98


@pytest.mark.usefixtures("float64")
def test_imported_segmentation_at_480_in_float64(tmp_path):
    """Against the reference in NumPy. In float32 rounding flips signs at this size."""
    state = draw("scales and gates")
    path = save(tmp_path / "seg.npz", segmentation(state))
    model = import_checkpoint(path, input_shape=(480, 480, 3), atrous_rates="released")
    images = random_images(1, 480, 480, 3)
    options = Options(
        blocks=(1, 1, 1, 1),
        strides=(1, 2, 1, 1),
        rates=((1, 1), (1, 1), (2, 2), (4, 4)),
        first_rates=((1, 1), (1, 1), (1, 1), (2, 2)),
        padding="torch",
        stem_stride=4,
        head="fcn32s",
        align_corners=True,
    )
    params = {weight.name: weight.numpy() for weight in model.weights}
    expected = Network(params, options)(images)
    np.testing.assert_allclose(model(images), expected, rtol=1e-9, atol=1e-9)
