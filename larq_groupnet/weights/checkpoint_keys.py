"""Maps the keys of the authors' checkpoints to the weights of this package.

A state dict has PyTorch's layout: kernels `(out, in, height, width)`, the dense kernel
`(classes, in)`. Two differences remain; neither matters for trained weights. Exact zeros in binary
kernels (counted and reported) and in activations: PyTorch's sign gives 0 for them, Larq's +1.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.kinds import LAYOUTS
from larq_groupnet.network.layouts import basic
from larq_groupnet.weights.checkpoint_files import CheckpointError, State

# (has `block_gate`, has `scales`) -> variant, and options of our configuration.
_VARIANTS: dict[tuple[bool, bool], tuple[str, dict[str, Any]]] = {
    (True, False): ("gates only", {"aggregation": "mean", "first_base_sums": True}),
    (True, True): ("scales and gates", {"stem_bias": True}),
    (False, True): ("scales only", {"decomposition": "group", "stem_bias": True}),
}
_BLOCK = re.compile(r"layer([1-4])\.(\d{1,3})\.(?:(?:conv1|conv2|bn1|bn2|scales)\.(\d{1,3})\b)?")
_FIRST_GATE = "layer1.0.block_gate"
_BACKBONE = "pretrained."
"""Prefix of the network's keys in a segmentation checkpoint."""
HEAD = "head.conv5."
"""Prefix of the keys of the FCN head: 0 convolution, 1 normalisation, 4 scores."""
_NOT_NEEDED = ("auxlayer.", "pretrained.fc.")
"""Prefixes of keys in a segmentation checkpoint that predictions do not use."""
_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A convolution and its batch normalisation, with their names on both sides."""

    conv: str
    batch_norm: str
    ours: str
    shape: tuple[int, ...]


def without_prefix(state: State) -> tuple[State, list[str]]:
    """A state dict with the network's keys as in a classifier, and notes on unused keys.

    Raises:
        CheckpointError: If it is a segmentation network with a head other than FCN.
    """
    if not any(key.startswith(_BACKBONE) for key in state):
        return state, []
    unused = sorted(key for key in state if key.startswith(_NOT_NEEDED))
    kept = {k.removeprefix(_BACKBONE): v for k, v in state.items() if k not in unused}
    other = sorted(key for key in kept if key.startswith("head.") and not key.startswith(HEAD))
    if other:
        raise CheckpointError(
            "path: expected a segmentation network with an FCN head (head.conv5). Received: "
            f"{other[0]} and {len(other) - 1} more keys of another head. The authors' DeepLab head "
            "has binary activations of 0 and 1, which no binary kernel of Larq Compute Engine takes"
        )
    return kept, [f"{', '.join(unused)}: left out, not used in predictions."] if unused else []


def describe(state: State, input_shape: tuple[int, int, int]) -> tuple[str, GroupNetConfig]:
    """The released variant of a state dict, and its configuration here.

    Args:
        state: As returned by `read_state`.
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
        found.blocks: name for name, found in LAYOUTS.items() if found.convolutions is basic
    }
    layout = layouts.get(tuple(blocks))
    # If a key that says a size is missing, the usual size is assumed: `check` lists the key.
    scores = f"{HEAD}4.weight" if f"{HEAD}4.weight" in state else "fc.weight"
    stem, dense = (np.shape(state.get(key, 0)) for key in ("conv1.weight", scores))
    config = GroupNetConfig(
        layout=layout or "resnet18",
        stage_blocks=None if layout else tuple(blocks),
        input_shape=input_shape,
        num_classes=dense[0] if dense else 1000,
        num_bases=1 + max((int(match[3]) for match in found if match[3]), default=0),
        width=stem[0] / LAYOUTS["resnet18"].channels[0] if stem else 1.0,
        padding="torch",
        # The authors' released code trains with this gradient.
        input_quantizer="approx_sign",
        **options,
    )
    if scores != "fc.weight":
        # In the segmentation code, the stem of no variant has a bias.
        config = config.replace(stem_bias="conv1.bias" in state)
    return variant, config


def check(state: State, variant: str, config: GroupNetConfig) -> None:
    """Checks the keys, shapes and values of a state dict against its variant.

    Raises:
        CheckpointError: If they differ. Lists every difference.
    """
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
            f"{config.num_classes} classes. Received {len(problems)} differences: "
            + "; ".join(problems)
        )


def _blocks(config: GroupNetConfig) -> Iterator[tuple[str, str]]:
    """(their name, our name) of each block."""
    for stage, count in enumerate(config.blocks, 1):
        for index in range(count):
            yield f"layer{stage}.{index}", f"stage{stage}_block{index + 1}"


def _units(config: GroupNetConfig) -> Iterator[_Unit]:
    """Every binary convolution. A convolution that the bases share appears once per base."""
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
                    f"{ours if config.shared_shortcut else name}_shortcut",
                    (channels, inputs, 1, 1),
                )


def _scalars(config: GroupNetConfig) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Our names -> their keys: the scales of each block, and the gates except the first."""
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
    if config.head == "classifier":
        return {**shapes, "fc.weight": (config.num_classes, last), "fc.bias": (config.num_classes,)}
    middle = last // 4
    shapes[f"{HEAD}0.weight"] = (middle, last, 3, 3)
    shapes.update({f"{HEAD}1.{part}": (middle,) for part in _BATCH_NORM})
    shapes[f"{HEAD}4.weight"] = (config.num_classes, middle, 1, 1)
    return {**shapes, f"{HEAD}4.bias": (config.num_classes,)}


def weights_of(state: State, config: GroupNetConfig) -> dict[str, NDArray]:
    """Our weight name -> value."""
    weights = {
        "stem_conv/kernel:0": state["conv1.weight"].transpose(2, 3, 1, 0),
        **_batch_norm(state, "bn1", "stem_bn", 1.0, config),
    }
    if config.head == "classifier":
        weights |= {"logits/kernel:0": state["fc.weight"].T, "logits/bias:0": state["fc.bias"]}
    else:
        weights |= {
            "head_conv1/kernel:0": state[f"{HEAD}0.weight"].transpose(2, 3, 1, 0),
            **_batch_norm(state, f"{HEAD}1", "head_conv1_bn", 1.0, config),
            "head_conv2/kernel:0": state[f"{HEAD}4.weight"].transpose(2, 3, 1, 0),
            "head_conv2/bias:0": state[f"{HEAD}4.bias"],
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
    """The normalisation of z that equals the authors' normalisation of alpha * z.

    A positive factor passes through a ReLU. With m, v, e the authors' mean, variance and epsilon,
    (alpha z - m) / sqrt(v + e) = (z - m / alpha) / sqrt(v' + e) for v' = (v + e) / alpha^2 - e.
    Scaling these rather than gamma gives the moving statistics of z, which training needs.
    """
    values = {
        name: np.asarray(state[f"{theirs}.{part}"], np.float64)
        for part, name in _BATCH_NORM.items()
    }
    epsilon = config.batch_norm_epsilon
    values["moving_mean"] = values["moving_mean"] / alpha
    values["moving_variance"] = (values["moving_variance"] + epsilon) / alpha**2 - epsilon
    return {f"{ours}/{name}:0": value for name, value in values.items()}


def notes_on(state: State, config: GroupNetConfig) -> list[str]:
    """Notes on keys that were left out and on values that cannot stay the same."""
    notes = []
    if _FIRST_GATE in state:
        notes.append(f"{_FIRST_GATE} was left out: the first block has one input and no gate.")
    keys = {unit.conv for unit in _units(config)}
    zeros = sum(int(np.sum(state[key] == 0)) for key in keys)
    if zeros:
        notes.append(
            f"{zeros} binary kernel values are exactly 0: PyTorch's sign gives 0 for them, Larq's "
            "+1, so outputs differ slightly."
        )
    return notes
