"""Release files: the same bits come back, another network is refused, a bad file is an error.

Files are also made here, with `struct`, `json` and `hashlib` alone, as the format is described.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
import warnings
from pathlib import Path

import larq as lq
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.build import build
from larq_groupnet.network.complexity import complexity
from larq_groupnet.weights import packed
from larq_groupnet.weights.by_name import has_other_head
from larq_groupnet.weights.container import FormatError
from larq_groupnet.weights.metadata import Metadata, MetadataError, Metric, compare
from tests.reference import random_images, randomise

TINY = GroupNetConfig(
    layout="two_stages",
    input_shape=(32, 32, 3),
    num_bases=(1, 2),
    width=0.0625,
    num_classes=5,
    stem_stride=1,
    output_stride=2,
)
ABOUT = {
    "dataset": "digits",
    "classes": ("a", "b", "c", "d", "é"),
    "preprocessing": {"mean": (0.5, 0.25), "resize": 36},
    "metrics": (Metric("top-1", 0.5, command="python train.py"), Metric("top-5", 1, paper="T. 1")),
    "licence": "CC0",
}
IMAGES = random_images(2, 32, 32, 3, seed=5).astype("float32")
NUM_MUTATIONS = 600
DENORMAL = np.float32(1e-45)


def make(seed=0, **changes):
    """A model with random weights, some latent ones on the edge, and its configuration."""
    config = TINY.replace(**changes)
    model = build(config)
    randomise(model.weights, seed)
    for layer in model.layers:
        if isinstance(layer, lq.layers.QuantConv2D):
            kernel = layer.get_weights()[0]
            kernel.flat[:5] = [0.0, -0.0, DENORMAL, -DENORMAL, -3.0]
            layer.set_weights([kernel])
    return model, config


def write(path, seed=0, **changes):
    model, config = make(seed, **changes)
    about = ABOUT if config.num_classes == 5 else {**ABOUT, "classes": ()}
    packed.save(model, Metadata(config, **about), path)
    return model, config


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release file, the model in it and its configuration."""
    path = tmp_path_factory.mktemp("release") / "tiny.safetensors"
    return path, *write(path)


@pytest.fixture(scope="module")
def untouched():
    """A model with other weights that nothing may load into, and its configuration."""
    model, config = make(seed=1)
    before = model.get_weights()
    yield model, config
    assert all(map(np.array_equal, before, model.get_weights()))


NETWORKS = {
    "per base": {"gate": "base", "stem_bias": True, "head": "fcn32s", "output_stride": 1},
    "layer": {"decomposition": "layer", "head": None, "kernel_quantizer": "swish_sign"},
    "scaled signs": {"kernel_quantizer": "magnitude_aware_sign"},
    "ternary": {"kernel_quantizer": "ste_tern"},
    "twin": {"binary": False},
}
NOT_PACKED = ("scaled signs", "ternary", "twin")


@pytest.mark.parametrize("network", NETWORKS)
def test_same_bits_come_out(tmp_path, network):
    path = tmp_path / "a.safetensors"
    model, config = write(path, **NETWORKS[network])
    again = build(config)
    packed.load(again, path, config)
    expected = model(IMAGES).numpy()
    assert np.std(expected) > 1e-3
    np.testing.assert_array_equal(again(IMAGES).numpy(), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    binary = {w.name for w in model.weights if "_base" in w.name and "kernel" in w.name}
    bits = safetensors.numpy.load_file(path)
    assert {name for name, value in bits.items() if value.dtype == np.uint8} == (
        set() if network in NOT_PACKED else binary
    )


def test_bit_is_a_sign_and_the_rest_is_float32(release):
    path, model, config = release
    stored = safetensors.numpy.load_file(path)
    metadata, values = packed.read(path)
    assert metadata == Metadata(config, **ABOUT)
    assert values.keys() == stored.keys() == {weight.name for weight in model.weights}
    for weight in model.weights:
        latent, value = weight.numpy(), stored[weight.name]
        if value.dtype == np.uint8:
            text = "".join(f"{byte:08b}" for byte in value)
            signs = [1.0 if bit == "1" else -1.0 for bit in text[: latent.size]]
            # What TensorFlow takes the least floats for is its own affair.
            expected = np.where(latent == 0, 1, np.sign(latent))[np.abs(latent) != DENORMAL]
            latent = np.reshape(signs, latent.shape)
            np.testing.assert_array_equal(latent[np.abs(weight.numpy()) != DENORMAL], expected)
        assert values[weight.name].dtype == np.float32
        np.testing.assert_array_equal(values[weight.name], latent)


def test_release_file_has_one_bit_per_binary_weight(release):
    """So ResNet-18 with five bases is below 10 MB."""
    path, model, config = release
    counted = complexity(config).total.params
    moving = sum(w.shape.num_elements() for w in model.weights if "/moving_" in w.name)
    least = counted[1] / 8 + 4 * (counted[32] + moving)
    header = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    # A kernel ends with a whole byte.
    assert 0 <= path.stat().st_size - header - least < len(model.weights)
    paper = complexity(GroupNetConfig()).total.params
    assert paper[1] / 8 + 4 * paper[32] < 10e6


# What cannot be saved.


@pytest.mark.parametrize(
    ("changes", "about", "text"),
    [
        ({"num_bases": 3}, {}, "expected the model that config describes"),
        ({"num_classes": 4}, {"classes": ()}, "expected the model that config describes"),
        ({"input_quantizer": lq.quantizers.SteSign()}, {}, "input_quantizer: expected a name"),
        ({"kernel_quantizer": {"class_name": "SteSign"}}, {}, "kernel_quantizer: expected a name"),
        ({}, {"classes": ["a"]}, "classes: expected 5 names"),
        ({}, {"classes": range(5)}, "classes: expected names"),
        ({}, {"licence": " "}, "licence: expected a text"),
        ({}, {"dataset": None}, "dataset: expected a text"),
        ({}, {"preprocessing": {"mean": np.ones(3)}}, "preprocessing: expected plain values"),
        ({}, {"preprocessing": [1]}, "preprocessing: expected names and values"),
    ],
)
def test_metadata_that_no_file_can_hold_is_refused(tmp_path, release, changes, about, text):
    config, about = TINY.replace(**changes), {**ABOUT, **about}
    with pytest.raises(ValueError, match=text):
        packed.save(release[1], Metadata(config, **about), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weight", "value"),
    [("stem_bn/moving_mean:0", np.inf), ("stage2_block1_base2_conv1/kernel:0", np.nan)],
)
def test_weights_that_a_file_cannot_hold_are_refused(tmp_path, weight, value):
    model, config = make()
    variable = {w.name: w for w in model.weights}[weight]
    variable.assign(np.full(variable.shape, value))
    with pytest.raises(FormatError, match=f"expected finite float32 weights. Received: {weight}"):
        packed.save(model, Metadata(config, **ABOUT), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_figure_says_who_measured_it():
    assert str(Metric("top-1", 0.648, paper="Table 2")) == "top-1 0.648 (paper)"
    assert str(Metric("top-1", 0.5, command="python train.py")) == "top-1 0.5 (measured)"
    for wrong in ({}, {"command": "x", "paper": "y"}, {"command": 3}):
        with pytest.raises(MetadataError, match="metrics: expected"):
            Metric("top-1", 0.5, **wrong)
    with pytest.raises(MetadataError, match="a name, a number"):
        Metric("top-1", float("nan"), command="x")


# Loading into another network.


@pytest.mark.parametrize(
    "changes",
    [
        {"num_bases": 3},
        {"num_bases": (2, 2), "gate": "base"},
        {"shortcut": "block"},
        {"batch_norm_epsilon": 1e-3},
        {"first_base_sums": True, "aggregation": "mean"},
        {"binary": False},
        {"input_quantizer": "ste_tern"},
        {"stage_blocks": (1, 2), "width": 0.125},
        {"input_shape": (32, 32, 1)},
        {"stem_stride": 4, "output_stride": 8},
    ],
    ids=str,
)
def test_other_options_are_listed_and_nothing_is_loaded(release, untouched, changes):
    path, _, theirs = release
    config = theirs.replace(**changes)
    with pytest.raises(packed.MismatchError) as error:
        packed.load(untouched[0], path, config)
    lines = re.search(r"\((.*)\)", str(error.value))[1].split("; ")
    expected = {name for name in changes if name != "output_stride"}
    assert {line.split(":")[0] for line in lines} == expected
    for line in lines:
        name = line.split(":")[0]
        values = getattr(theirs, name), getattr(config, name)
        assert line == f"{name}: {values[0]!r} in the file, {values[1]!r} in the model"


def test_options_that_change_no_weight_are_free(release):
    path, trained, _ = release
    model, config = make(
        seed=1, output_stride=1, atrous_rates=(1, 2), input_shape=(64, 32, 3),
        batch_norm_momentum=0.5, stage_blocks=[1, 1], num_bases=[1, 2],
        input_quantizer="approx_sign", kernel_quantizer="swish_sign",
    )  # fmt: skip
    packed.load(model, path, config)
    for one, other in zip(model.weights, trained.weights, strict=True):
        if "_base" not in one.name:
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_two_ways_of_writing_a_network_are_the_same():
    written = GroupNetConfig(stage_blocks=(2, 2, 2, 2), num_bases=(5, 5, 5, 5))
    assert compare(GroupNetConfig(), written) == ({}, {})


def test_other_padding_and_strides_are_noted():
    config = TINY.replace(stem_stride=4, output_stride=8)
    other = config.replace(padding="torch", stem_stride=2, output_stride=4)
    with pytest.warns(UserWarning, match="in the file") as warned:
        assert not has_other_head(Path("a.safetensors"), config, other)
    assert sorted(str(w.message).split(": ", 2)[2] for w in warned) == [
        "padding: 'same' in the file, 'torch' in the model",
        "stem_stride: 4 in the file, 2 in the model",
    ]
    one_way, other_way = (compare(a, b) for a, b in ((config, other), (other, config)))
    assert not one_way[0] and not other_way[0]


HEADS = {
    "no top": ({"head": None}, {"logits/kernel:0", "logits/bias:0"}),
    "other classes": ({"num_classes": 3}, {"logits/kernel:0", "logits/bias:0"}),
    "segmentation": (
        {"head": "fcn32s", "num_classes": 3, "output_stride": 1, "atrous_rates": (1, "2-6")},
        {"logits/kernel:0", "logits/bias:0", "head_conv1/kernel:0"}
        | {"head_conv2/kernel:0", "head_conv2/bias:0"}
        | {f"head_conv1_bn/{x}:0" for x in ("gamma", "beta", "moving_mean", "moving_variance")},
    ),
}


@pytest.mark.parametrize(("changes", "left_out"), HEADS.values(), ids=HEADS)
def test_another_head_loads_the_rest_and_says_what_was_left_out(release, changes, left_out):
    path, trained, _ = release
    model, config = make(seed=1, **changes)
    before = {w.name: w.numpy() for w in model.weights}
    with pytest.warns(UserWarning, match="left out, because the head differs") as warned:
        packed.load(model, path, config)
    (message,) = {str(w.message) for w in warned}
    listed = {text.rsplit(" ", 1)[-1] for text in message.split(":0")[:-1]}
    assert {f"{name}:0" for name in listed} == {*sorted(left_out)[:8]}
    assert message.endswith("; and 1 more") == (len(left_out) == 9)
    _, values = packed.read(path)
    for weight in model.weights:
        source = before if weight.name in left_out else values
        np.testing.assert_array_equal(weight.numpy(), source[weight.name])
    aggregates = [
        tf.keras.Model(m.input, m.get_layer("stage1_block1_aggregate").output)(IMAGES)
        for m in (trained, model)
    ]
    np.testing.assert_array_equal(*aggregates)


def test_segmentation_head_keeps_what_fits_another_number_of_classes(tmp_path):
    path = tmp_path / "a.safetensors"
    trained, config = write(path, head="fcn32s")
    model = build(config.replace(num_classes=3))
    with pytest.warns(UserWarning, match=r"head_conv2/kernel:0: \(1, 1, 2, 5\) there") as w:
        packed.load(model, path, config.replace(num_classes=3))
    assert "head_conv1" not in str(w[0].message)
    one, other = (m.get_layer("head_conv1").get_weights()[0] for m in (trained, model))
    np.testing.assert_array_equal(one, other)


# Files that are damaged, crafted or too new.


def parts(path):
    """The header and the data of a safetensors file."""
    content = path.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def assemble(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def seal(header, data):
    """The file with the digest that the format asks for."""
    texts = header["__metadata__"]
    digest = hashlib.sha256(texts["description"].encode())
    types = {"F32": "float32", "F16": "float16", "U8": "uint8"}
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        kind, (start, end) = types.get(entry["dtype"], "?"), entry["data_offsets"]
        digest.update(f"\n{name} {kind} {tuple(entry['shape'])}\n".encode())
        digest.update(data[start:end])
    texts["sha256"] = digest.hexdigest()
    return assemble(header, data)


def drop(header, data, name):
    """Without one tensor, the others moved up."""
    start, end = header.pop(name)["data_offsets"]
    for entry in header.values():
        offsets = entry.get("data_offsets", [0, 0])
        if offsets[0] >= end:
            entry["data_offsets"] = [offset - (end - start) for offset in offsets]
    return data[:start] + data[end:]


def described(change):
    """A crafting that edits the description."""

    def craft(header, data):
        description = json.loads(header["__metadata__"]["description"])
        change(description)
        header["__metadata__"]["description"] = json.dumps(description)
        return data

    return craft


KERNEL = "stage2_block1_base1_conv1/kernel:0"


def _newer(header, data):
    header["__metadata__"]["format_version"] = "2"
    return data


def _reshaped(header, data):
    header["stem_conv/kernel:0"]["shape"].reverse()
    return data


def _other_type(header, data):
    entry = header["stem_conv/kernel:0"]
    entry["dtype"], entry["shape"] = "F16", [2, *entry["shape"]]
    return data


def _without(name):
    return lambda header, data: drop(header, data, name)


def _nested(header, data):
    header["__metadata__"]["description"] = "[" * 200_000
    return data


def _integers(header, data):
    header["stem_bn/gamma:0"]["dtype"] = "I32"
    return data


def _other_head_and_stem(header, data):
    described(lambda d: d.update(classes=[]) or d["config"].update(num_classes=6))(header, data)
    return drop(header, data, "stem_bn/gamma:0")


SEALED = {
    "other head and stem": (
        _other_head_and_stem,
        r"than the model .stem_bn/gamma:0: absent",
    ),
    "newer": (_newer, "format 2 is newer than 1"),
    "reshaped": (_reshaped, r"stem_conv/kernel:0: \(4, 3, 3, 3\) there"),
    "other type": (_other_type, r"stem_conv/kernel:0: \(2, 3, 3, 3, 4\) there"),
    "no kernel": (_without(KERNEL), f"packed kernels are missing: {KERNEL}"),
    "no gamma": (_without("stem_bn/gamma:0"), "stem_bn/gamma:0: absent there"),
    "integers": (_integers, "'I32'"),
    "nested": (_nested, "recursion"),
    "no shapes": (described(lambda d: d.pop("packed")), "packed"),
    "no licence": (described(lambda d: d.pop("licence")), "licence"),
    "unknown field": (described(lambda d: d.update(x=1)), "'x'"),
    "unknown option": (described(lambda d: d["config"].update(magic=1)), "no option magic"),
    "huge K": (described(lambda d: d["config"].update(num_bases=10**400)), "num_bases"),
    "huge width": (described(lambda d: d["config"].update(width=10**400)), "width: expected"),
    "object": (
        described(lambda d: d["config"].update(kernel_quantizer={"a": 1})),
        "expected a name",
    ),
    "huge kernel": (described(lambda d: d["packed"].update({KERNEL: [2**40]})), "bits"),
    "negative kernel": (described(lambda d: d["packed"].update({KERNEL: [-1, -288]})), "shape"),
    "other kernel": (
        described(lambda d: d["packed"].update({KERNEL: [3, 3, 8, 4]})),
        rf"{KERNEL}: \(3, 3, 8, 4\) there, \(3, 3, 4, 8\) in the model",
    ),
    "text as shape": (described(lambda d: d["packed"].update({KERNEL: "ab"})), "shape"),
    "real as packed": (
        described(lambda d: d["packed"].update({"stem_bn/beta:0": [4]})),
        "stem_bn/beta:0 is float32",
    ),
}


@pytest.mark.parametrize(("craft", "text"), SEALED.values(), ids=SEALED)
def test_crafted_file_with_the_right_digest_is_refused(tmp_path, release, untouched, craft, text):
    path, *_ = release
    header, data = parts(path)
    assert seal(header, data) == assemble(parts(path)[0], data)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(seal(header, craft(header, data)))
    with pytest.raises((FormatError, packed.MismatchError), match=text):
        packed.load(untouched[0], bad, untouched[1])


def _length(number):
    return lambda content: struct.pack("<Q", number) + content[8:]


def _header(change):
    def craft(content):
        end = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:end])
        change(header)
        return assemble(header, content[end:])

    return craft


def _offsets(*values):
    return _header(lambda header: header[KERNEL].update(data_offsets=values))


def _padded(content):
    """Valid, but for the size of its header."""
    length = struct.unpack("<Q", content[:8])[0]
    end = 8 + length
    return struct.pack("<Q", length + 2**24) + content[8:end] + b" " * 2**24 + content[end:]


RAW = {
    "empty": lambda content: b"",
    "seven bytes": lambda content: content[:7],
    "no header": lambda content: struct.pack("<Q", 0),
    "huge header": _length(2**63),
    "header of all": lambda content: struct.pack("<Q", len(content) - 8) + content[8:],
    "header beyond the end": lambda content: struct.pack("<Q", len(content)) + content[8:],
    "large header": _padded,
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "offsets beyond the end": _offsets(0, 2**62),
    "negative offsets": _offsets(-36, 0),
    "offsets reversed": _offsets(36, 0),
    "overlap": _offsets(0, 36),
    "shape that overflows": _header(lambda header: header[KERNEL].update(shape=[2**62, 2**62])),
    "no texts": _header(lambda header: header.pop("__metadata__")),
    "other format": _header(lambda header: header["__metadata__"].update(format="pt")),
    "words": lambda content: b"not a model at all, but longer than eight bytes",
    "h5": lambda content: b"\x89HDF\r\n\x1a\n" + content,
    "list": lambda content: struct.pack("<Q", 2) + b"[]",
}


@pytest.mark.parametrize("craft", RAW.values(), ids=RAW)
def test_broken_file_is_refused(tmp_path, release, untouched, craft):
    path, *_ = release
    model, config = untouched
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(craft(path.read_bytes()))
    for load in (lambda: packed.read(bad), lambda: packed.load(model, bad, config)):
        with pytest.raises(FormatError, match="expected a whole release file .*bad.safetensors"):
            load()


def test_absent_file_is_named(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path} \\(no such file\\)"):
            packed.read(path)


def mutate(content, rng):
    """A random change: of a byte, of digits in the header, or of where things are."""
    header = 8 + struct.unpack("<Q", content[:8])[0]
    end = rng.choice([8, header, header, len(content)])
    at = rng.randrange(end)
    length = rng.randrange(1, 40)
    kind = rng.randrange(7)
    if kind == 0:
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if kind == 2:
        return content[: rng.randrange(len(content))]
    if kind == 3:
        return content[:at] + content[at + length :]
    if kind == 4:
        return content[:at] + rng.randbytes(length) + content[at:]
    if kind == 5:
        return content[:at] + content[at : at + length] + content[at:]
    digits = [i for i in range(8, header) if 48 <= content[i] < 58]
    at = rng.choice(digits)
    return content[:at] + rng.choice(b"0123456789-").to_bytes(1, "big") + content[at + 1 :]


def test_mutated_file_is_an_error_or_the_same_file(tmp_path):
    small = {"num_bases": 1, "width": 1 / 64, "aggregation": "mean"}
    _, config = write(tmp_path / "good.safetensors", **small)
    content = (tmp_path / "good.safetensors").read_bytes()
    metadata, values = packed.read(tmp_path / "good.safetensors")
    model, _ = make(seed=1, **small)
    before = model.get_weights()
    rng = random.Random(7)
    bad = tmp_path / "bad.safetensors"
    refused = 0
    for _ in range(NUM_MUTATIONS):
        changed = mutate(content, rng)
        bad.write_bytes(changed)
        try:
            found, arrays = packed.read(bad)
        except FormatError:
            refused += 1
            if refused % 10 == 0:
                with pytest.raises(FormatError):
                    packed.load(model, bad, config)
            continue
        assert found == metadata
        assert arrays.keys() == values.keys()
        assert all(np.array_equal(arrays[name], values[name]) for name in values)
    assert refused > 0.9 * NUM_MUTATIONS
    assert all(map(np.array_equal, before, model.get_weights()))


JUNK = (None, True, -1, 0, 3, 10**30, 1e308, "", "x", [], [1], [[2]], {}, {"a": 1})


def junk(value, rng):
    """`value` with one part, however deep, taken away or replaced."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if rng.random() < 0.2:
            value.pop(key)
        else:
            value[key] = junk(value[key], rng)
        return value
    return rng.choice(JUNK)


def test_crafted_description_is_an_error_or_loads_as_a_whole(tmp_path):
    small = {"num_bases": 1, "width": 1 / 64, "aggregation": "mean"}
    _, config = write(tmp_path / "good.safetensors", **small)
    _, values = packed.read(tmp_path / "good.safetensors")
    model, _ = make(seed=1, **small)
    before = model.get_weights()
    rng = random.Random(8)
    bad = tmp_path / "bad.safetensors"
    outcomes = {"refused": 0, "loaded": 0}
    for _ in range(120):
        header, data = parts(tmp_path / "good.safetensors")
        described(lambda d: junk(d, rng))(header, data)
        bad.write_bytes(seal(header, data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What was left out, and other padding.
            try:
                packed.load(model, bad, config)
            except (FormatError, packed.MismatchError):
                assert all(map(np.array_equal, before, model.get_weights()))
                outcomes["refused"] += 1
                continue
        outcomes["loaded"] += 1
        for weight in model.weights:
            np.testing.assert_array_equal(weight.numpy(), values[weight.name])
        model.set_weights(before)
    assert min(outcomes.values()) > 5
