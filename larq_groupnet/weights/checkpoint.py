"""The checkpoints of Group-Net's authors, as models of this package.

A state dict has PyTorch's layout: kernels `(out, in, height, width)`, the dense kernel
`(classes, in)`. Two things cannot be carried over, and neither shows in trained weights: a binary
kernel's value of exactly 0 is 0 for PyTorch's sign and +1 for Larq's (counted and reported), and
so is an activation of exactly 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from larq_groupnet.config import DEPTHS, STAGE_CHANNELS, GroupNetConfig
from larq_groupnet.errors import MissingFileError, MissingPackageError, WeightsError
from larq_groupnet.files import replacing
from larq_groupnet.network.build import build
from larq_groupnet.weights import packed
from larq_groupnet.weights.registry import register

State = Mapping[str, NDArray]

LICENCE = (
    "These weights come from a checkpoint of Group-Net's authors, who publish under the GNU "
    "General Public License and for non-commercial use only. Their terms hold for the converted "
    "weights too; the licence of larq-groupnet does not cover them."
)

PREPROCESSING = {
    "resize": 256,
    "crop": 224,
    "range": [0, 1],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""What the authors' released code does to test images: shorter side, centre, mean and deviation."""

# What `block_gate` and `scales` in the keys say: variant, and options of our configuration.
_VARIANTS: dict[tuple[bool, bool], tuple[str, dict[str, Any]]] = {
    (True, False): ("gates only", {"aggregation": "mean", "first_base_sums": True}),
    (True, True): ("scales and gates", {"stem_bias": True}),
    (False, True): ("scales only", {"decomposition": "group", "stem_bias": True}),
}
_BLOCK = re.compile(r"layer([1-4])\.(\d{1,3})\.(?:(?:conv1|conv2|bn1|bn2|scales)\.(\d{1,3})\b)?")
_FIRST_GATE = "layer1.0.block_gate"
_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


class CheckpointError(WeightsError):
    """A file that holds no Group-Net of the authors. Lists every key that does not fit."""


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A convolution and the batch normalisation after it, under their names on both sides."""

    conv: str
    batch_norm: str
    ours: str
    shape: tuple[int, ...]


def import_checkpoint(
    path: str | Path,
    output: str | Path | None = None,
    *,
    input_shape: tuple[int, int, int] = (224, 224, 3),
) -> tf.keras.Model:
    """Turns a checkpoint of Group-Net's authors into a model that computes the same function.

    Which of the three released classification variants it is, its depth, K, width and number of
    classes are read from its keys. Prints the licence of the authors' weights.

    Args:
        path: A `.npz` of the state dict (keys with or without a prefix `param/`; int8 kernels
            count hundredths), or what `torch.save` wrote (`.pth.tar`, `.pt`; needs PyTorch).
        output: Where to save: `OUTPUT.h5` gets the weights, `OUTPUT.json` the configuration, the
            origin and the licence. `build(GroupNetConfig.from_dict(values["config"]),
            weights="OUTPUT.h5")` restores the model. `None` saves nothing.
        input_shape: `(height, width, channels)` of the images, multiples of 32.

    Returns:
        The model: `(batch, height, width, channels) float32` to `(batch, classes) float32`
        probabilities; the authors' logits are the output of its layer `"logits"`.

    Raises:
        FileNotFoundError: If `path` names no file.
        ImportError: If the file needs PyTorch, which is not installed.
        CheckpointError: If the file cannot be read, or if keys are missing, unknown or of another
            shape than expected.
    """
    path = Path(path)
    state = read_state(path)
    variant, config = describe(state, input_shape)
    _check(state, variant, config)
    model = build(config)
    values = _weights(state, config)
    model.set_weights([values[weight.name] for weight in model.weights])
    notes = _notes(state, config)
    print("\n".join([*notes, LICENCE]))
    if output is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        origin = {"file": path.name, "sha256": digest, "variant": variant, "notes": notes}
        _save(model, config, origin, output)
    return model


def main(
    path: str | Path,
    output: str | Path,
    name: str | None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
) -> None:
    """Imports the checkpoint `path` to `OUTPUT.h5` and `OUTPUT.json`, and says what it was.

    With a `name`, it is also registered on this machine: `weights=name` then finds it.
    """
    model = import_checkpoint(path, output, input_shape=input_shape)
    weights, description = _outputs(output)
    values = json.loads(description.read_text())
    origin = values["origin"]
    if name is not None:
        print(_register(model, GroupNetConfig.from_dict(values["config"]), name))
    print(
        f"{path}: {origin['variant']}, {model.count_params():,} parameters -> "
        f"{weights}, {description}"
    )


def _register(model: tf.keras.Model, config: GroupNetConfig, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = packed.save(
            model,
            config,
            Path(folder) / "weights.safetensors",
            dataset="imagenet2012",
            classes=(),
            preprocessing=PREPROCESSING,
            metrics=(),
            licence=LICENCE,
        )
        entry = register(path, name, f"groupnet_{config.layout}")
    return f"Registered: weights={entry.name!r} for {entry.model}."


def read_state(path: Path) -> State:
    """The state dict in a file, by key without the prefixes `param/` and `module.`.

    Args:
        path: As for `import_checkpoint`.

    Returns:
        Key -> array, in PyTorch's layout; kernels that count hundredths are divided.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file needs PyTorch, which is not installed.
        CheckpointError: If the file holds no state dict.
    """
    if not path.is_file():
        raise MissingFileError(f"path: expected a checkpoint. Received: {path} (no such file)")
    state = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _read_npz(path: Path) -> State:
    try:
        # np.load would leave open a file that is no archive.
        with path.open("rb") as stream, np.load(stream) as file:
            prefix = "param/" if any(key.startswith("param/") for key in file) else ""
            arrays = {key.removeprefix(prefix): file[key] for key in file if key.startswith(prefix)}
        return {
            key: value.astype("float32") / np.float32(100 if value.dtype == np.int8 else 1)
            for key, value in arrays.items()
        }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"path: expected a .npz of numbers. Received: {path}: {error}"
        ) from error


def _read_torch(path: Path) -> State:
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            f"Reading {path} needs PyTorch: pip install larq-groupnet[torch] (or save the state "
            "dict as .npz)."
        ) from error
    try:
        # weights_only: a checkpoint is a pickle, and must not run code of its own.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise CheckpointError(
            "path: expected what torch.save wrote, readable with weights_only=True. "
            f"Received: {path}: {error}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise CheckpointError(
            f"path: expected a state dict, or one under 'state_dict'. Received: {path} with a "
            f"{type(content).__name__}"
        )
    return {key: value.detach().float().numpy() for key, value in content.items()}


def describe(state: State, input_shape: tuple[int, int, int]) -> tuple[str, GroupNetConfig]:
    """Which released variant a state dict is, and our configuration of it.

    Args:
        state: As `read_state` gives it.
        input_shape: `(height, width, channels)` of the images.

    Returns:
        `"gates only"`, `"scales and gates"` or `"scales only"`, and the configuration. A state
        dict with neither gates nor scales is described as if it had gates.
    """
    found = [match for match in map(_BLOCK.match, state) if match]
    scales = any(".scales." in key for key in state)
    gates = any(key.endswith(".block_gate") and key != _FIRST_GATE for key in state)
    variant, options = _VARIANTS[gates or not scales, scales]
    blocks = [1, 1, 1, 1]
    for match in found:
        stage = int(match[1]) - 1
        blocks[stage] = max(blocks[stage], int(match[2]) + 1)
    layouts: dict[Any, str] = {
        counts: name for name, (kind, counts) in DEPTHS.items() if kind == "basic"
    }
    layout = layouts.get(tuple(blocks))
    # Where a key is missing that says a size, the usual one is expected: _check will list it.
    stem, dense = (np.shape(state.get(key, 0)) for key in ("conv1.weight", "fc.weight"))
    config = GroupNetConfig(
        layout=layout or "resnet18",
        stage_blocks=None if layout else tuple(blocks),
        input_shape=input_shape,
        num_classes=dense[0] if dense else 1000,
        num_bases=1 + max((int(match[3]) for match in found if match[3]), default=0),
        width=stem[0] / STAGE_CHANNELS[0] if stem else 1.0,
        padding="torch",
        # The gradient that the authors' released code trains with.
        input_quantizer="approx_sign",
        **options,
    )
    return variant, config


def _check(state: State, variant: str, config: GroupNetConfig) -> None:
    expected = _shapes(config)
    shapes = {
        key: np.shape(value)
        for key, value in state.items()
        if not key.endswith(".num_batches_tracked")
        and not (key == _FIRST_GATE and config.decomposition == "gated")
    }
    problems = [
        *(f"missing: {key} {expected[key]}" for key in expected if key not in shapes),
        *(f"not expected: {key} {shapes[key]}" for key in shapes if key not in expected),
        *(
            f"wrong shape: {key} {shapes[key]}, expected {shape}"
            for key, shape in expected.items()
            if shapes.get(key, shape) != shape
        ),
        *(f"not finite: {key}" for key in expected if not np.isfinite(state.get(key, 0.0)).all()),
        *(
            f"all zero, has no sign: {unit.conv}"
            for unit in _units(config)
            if not np.any(state.get(unit.conv, 1.0))
        ),
    ]
    if problems:
        raise CheckpointError(
            f"path: expected the keys of the variant {variant!r} with {config.num_bases} bases, "
            f"blocks {config.blocks}, {config.stage_channels[0]} channels after the stem and "
            f"{config.num_classes} classes. Received {len(problems)} differences:\n  "
            + "\n  ".join(problems)
        )


def _blocks(config: GroupNetConfig) -> Iterator[tuple[str, str]]:
    """(their name, our name) of each block."""
    for stage, count in enumerate(config.blocks, 1):
        for index in range(count):
            yield f"layer{stage}.{index}", f"stage{stage}_block{index + 1}"


def _units(config: GroupNetConfig) -> Iterator[_Unit]:
    """Each binary convolution; one that the bases share comes once per base."""
    channels = config.stage_channels[0]
    for theirs, ours in _blocks(config):
        inputs, channels = channels, config.stage_channels[int(theirs[5]) - 1]
        for base in range(config.bases_per_stage[0]):
            name = f"{ours}_base{base + 1}"
            for conv, width in ((1, inputs), (2, channels)):
                yield _Unit(
                    f"{theirs}.conv{conv}.{base}.weight",
                    f"{theirs}.bn{conv}.{base}",
                    f"{name}_conv{conv}",
                    (channels, width, 3, 3),
                )
            if inputs != channels:
                yield _Unit(
                    f"{theirs}.downsample.conv.weight",
                    f"{theirs}.downsample.batch_norm",
                    f"{name}_shortcut",
                    (channels, inputs, 1, 1),
                )


def _scalars(config: GroupNetConfig) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Our name -> their keys of the scales of each block, and of the gate of all but the first."""
    scales, gates = {}, {}
    for theirs, ours in _blocks(config):
        if config.aggregation == "scales":
            keys = [f"{theirs}.scales.{base}" for base in range(config.bases_per_stage[0])]
            scales[f"{ours}_aggregate/scales:0"] = keys
        if config.decomposition == "gated":
            gates[f"{ours}_gate/theta:0"] = f"{theirs}.block_gate"
    gates.pop("stage1_block1_gate/theta:0", None)
    return scales, gates


def _shapes(config: GroupNetConfig) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every array that a state dict of `config` has."""
    first, last = config.stage_channels[0], config.stage_channels[-1]
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (first, config.input_shape[2], 7, 7)}
    if config.stem_bias:
        shapes["conv1.bias"] = (first,)
    shapes.update({f"bn1.{part}": (first,) for part in _BATCH_NORM})
    for unit in _units(config):
        shapes[unit.conv] = unit.shape
        shapes.update({f"{unit.batch_norm}.{part}": unit.shape[:1] for part in _BATCH_NORM})
    scales, gates = _scalars(config)
    shapes.update({key: (1,) for keys in scales.values() for key in keys})
    shapes.update({key: (1,) for key in gates.values()})
    return {**shapes, "fc.weight": (config.num_classes, last), "fc.bias": (config.num_classes,)}


def _weights(state: State, config: GroupNetConfig) -> dict[str, NDArray]:
    """Our weight name -> value."""
    weights = {
        "stem_conv/kernel:0": state["conv1.weight"].transpose(2, 3, 1, 0),
        **_batch_norm(state, "bn1", "stem_bn", 1.0, config),
        "logits/kernel:0": state["fc.weight"].T,
        "logits/bias:0": state["fc.bias"],
    }
    if config.stem_bias:
        weights["stem_conv/bias:0"] = state["conv1.bias"]
    for unit in _units(config):
        kernel = state[unit.conv]
        # Only the signs matter; beyond 1 the gradient of ste_sign would be 0.
        weights[f"{unit.ours}/kernel:0"] = np.clip(kernel, -1, 1).transpose(2, 3, 1, 0)
        alpha = np.abs(kernel).mean(dtype=np.float64)
        weights.update(_batch_norm(state, unit.batch_norm, f"{unit.ours}_bn", alpha, config))
    scales, gates = _scalars(config)
    for name, keys in scales.items():
        weights[name] = np.concatenate([state[key] for key in keys])
    weights.update({name: state[key] for name, key in gates.items()})
    return weights


def _batch_norm(
    state: State, theirs: str, ours: str, alpha: float, config: GroupNetConfig
) -> dict[str, NDArray]:
    """The normalisation of z that does what theirs does of alpha * z.

    A positive factor passes through a ReLU. With m, v, e their mean, variance and epsilon,
    (alpha z - m) / sqrt(v + e) = (z - m / alpha) / sqrt(v' + e) for v' = (v + e) / alpha^2 - e.
    Moved here rather than into gamma, the moving statistics are those of z, which training needs.
    """
    values = {
        name: np.asarray(state[f"{theirs}.{part}"], np.float64)
        for part, name in _BATCH_NORM.items()
    }
    epsilon = config.batch_norm_epsilon
    values["moving_mean"] = values["moving_mean"] / alpha
    values["moving_variance"] = (values["moving_variance"] + epsilon) / alpha**2 - epsilon
    return {f"{ours}/{name}:0": value for name, value in values.items()}


def _notes(state: State, config: GroupNetConfig) -> list[str]:
    """What was left out, or cannot be the same."""
    notes = []
    if _FIRST_GATE in state:
        notes.append(f"{_FIRST_GATE} was left out: the first block has one input and no gate.")
    keys = {unit.conv for unit in _units(config)}
    zeros = sum(int(np.sum(state[key] == 0)) for key in keys)
    if zeros:
        notes.append(
            f"{zeros} binary kernel values are exactly 0: PyTorch's sign gives 0 for them, Larq's "
            "+1, so that outputs differ a little."
        )
    return notes


def _outputs(output: str | Path) -> tuple[Path, Path]:
    name = str(output).removesuffix(".h5")
    return Path(f"{name}.h5"), Path(f"{name}.json")


def _save(
    model: tf.keras.Model, config: GroupNetConfig, origin: dict[str, Any], output: str | Path
) -> None:
    weights, description = _outputs(output)
    values = {"licence": LICENCE, "origin": origin, "config": config.to_dict()}
    with replacing(weights) as temporary:
        model.save_weights(temporary)
    with replacing(description) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
