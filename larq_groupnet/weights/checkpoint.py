"""Imports the checkpoints of Group-Net's authors as models of this package."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data.labels import read_text
from larq_groupnet.data.reading import Reading
from larq_groupnet.files import path_of, write_json
from larq_groupnet.network.build import build
from larq_groupnet.weights import keras_files, packed
from larq_groupnet.weights.checkpoint_files import CheckpointError, read_state
from larq_groupnet.weights.checkpoint_keys import (
    HEAD,
    check,
    describe,
    notes_on,
    weights_of,
    without_prefix,
)
from larq_groupnet.weights.metadata import Metadata
from larq_groupnet.weights.registry import check_name, register

LICENCE = (
    "The terms of whoever trained these weights also apply to the converted weights; the licence "
    "of larq-groupnet does not cover them. Group-Net's authors publish theirs under the GNU "
    "General Public License and for non-commercial use only{more}."
)
_MORE = (
    "; the repository of their segmentation code says '2-clause BSD for academic use' and has no "
    "licence file"
)

IMAGENET = {"normalisation": "imagenet", "central_crop": 224 / 256}
"""How the authors' released code prepares test images of ImageNet."""

SEGMENTATION = {"normalisation": "imagenet", "scales": [1.0]}
"""How images are read for a segmentation network: normalised as in the authors' released code, but
at their own size (the authors' code judges the centre)."""

IMAGENET_CLASSES = 1000


def import_checkpoint(
    path: str | Path,
    output: str | Path | None = None,
    *,
    input_shape: tuple[int, int, int] | None = None,
    atrous_rates: Any = None,
    first_rates: Any = None,
    shared_shortcut: bool = False,
    dataset: str | None = None,
    classes: Sequence[str] = (),
    normalisation: str | None = None,
    central_crop: float | None = None,
) -> tf.keras.Model:
    """Turns a checkpoint of Group-Net's authors into a model that computes the same function.

    The released variant, depth, K, width and number of classes are read from the keys. Prints what
    is known about the licence.

    Args:
        path: A `.npz` of the state dict, or a file of `torch.save` (`.pth.tar`, `.pt`; needs
            PyTorch). Keys in a `.npz` may have the prefix `param/`, where int8 kernels count
            hundredths, or `int8/param/`, where they count thousandths. A segmentation network must
            have an FCN head.
        output: Where to save: `OUTPUT.h5` gets the weights, `OUTPUT.json` the description. Then
            `weights="OUTPUT.h5"` restores the model. `None` saves nothing.
        input_shape: `(height, width, channels)` of the images; `(224, 224, 3)` by default.
            Required for a segmentation network.
        atrous_rates: Dilation rates of a segmentation network, as for `GroupNetConfig`. The file
            does not contain them. `"released"` fits the authors' plain backbone, `"released_bpac"`
            the other one.
        first_rates: As for `GroupNetConfig`, if `atrous_rates` is not a name.
        shared_shortcut: Keep the shortcut that all bases share in the authors' code, to continue
            their training. By default each base gets a copy, which computes the same.
        dataset: What the weights were trained on. By default ImageNet for a classifier with 1000
            classes, else unknown.
        classes: Names of the classes, in order.
        normalisation: How the images were normalised. By default as in the authors' code for a
            segmentation network and if ImageNet is assumed, else unknown.
        central_crop: Side of the central crop, divided by the shorter side of the image. By default
            as in the authors' code if ImageNet is assumed.

    Returns:
        The model: `(batch, height, width, channels) float32` to `(batch, classes) float32`
        probabilities, or `(batch, height, width, classes)` logits. The layer `"logits"` of a
        classifier outputs the authors' logits.

    Raises:
        FileNotFoundError: If `path` does not exist.
        ImportError: If the file needs PyTorch, which is not installed.
        CheckpointError: If the file cannot be read, or if keys are missing, unknown or have the
            wrong shape.
        ConfigError: If the network does not support this size or these rates.
        MetadataError: If the number of class names is wrong.
        DatasetError: If the normalisation or the crop is invalid.
    """
    path = path_of(path)
    both: dict[str, Any] = {"normalisation": normalisation, "central_crop": central_crop}
    given = {name: value for name, value in both.items() if value is not None}
    Reading(**given)  # Raises if a value is invalid.
    state, unused = without_prefix(read_state(path))
    dense = any(key.startswith(HEAD) for key in state)
    if dense and (input_shape is None or atrous_rates is None):
        raise CheckpointError(
            "path: expected input_shape and atrous_rates with a segmentation network, because the "
            "file has neither. The authors train at 480 x 480; their plain backbone has the "
            "rates 'released', the one with lists of rates 'released_bpac'. "
            f"Received: {path}, input_shape={input_shape}, atrous_rates={atrous_rates}"
        )
    if not dense and (atrous_rates, first_rates) != (None, None):
        raise CheckpointError(
            "atrous_rates, first_rates: expected none with a classifier, which has no dilation. "
            f"Received: atrous_rates={atrous_rates}, first_rates={first_rates}, with {path}"
        )
    variant, config = describe(state, input_shape or (224, 224, 3))
    if dense:
        rates = {"atrous_rates": atrous_rates, "first_rates": first_rates}
        as_theirs = {"output_stride": 8, "align_corners": True, "spatial_dropout": True}
        config = config.replace(head="fcn32s", **as_theirs, **rates)
    config = config.replace(shared_shortcut=shared_shortcut)
    check(state, variant, config)
    model = build(config)
    values = weights_of(state, config)
    model.set_weights([values[weight.name] for weight in model.weights])
    notes = [*notes_on(state, config), *unused]
    reading: dict[str, Any] = {"size": list(config.input_shape[:2])}
    if dense:
        reading |= SEGMENTATION
        if normalisation is None:
            notes.append("Images are assumed to be normalised as in the authors' code.")
    elif dataset is None and config.num_classes == IMAGENET_CLASSES:
        dataset = "imagenet2012"
        reading |= IMAGENET
        notes.append("Its 1000 classes are assumed to be those of ImageNet.")
    elif normalisation is None:
        notes.append(
            "The file does not say how images are normalised. Predictions need it: give "
            "normalisation."
        )
    reading |= given
    licence = LICENCE.format(more=_MORE if dense else "")
    print("\n".join([*notes, licence]))
    if output is not None:
        name = "groupnet_dsp" if dense else f"groupnet_{config.layout}"
        metadata = Metadata(config, dataset or "", tuple(classes), reading, (), licence, name)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        origin = {"file": path.name, "sha256": digest, "variant": variant, "notes": notes}
        weights, description = _outputs(output)
        keras_files.save(model, weights, metadata.to_dict())
        write_json(description, {**metadata.to_dict(), "origin": origin})
    return model


def main(
    path: str | Path,
    output: str | Path,
    name: str | None = None,
    *,
    classes_file: Path | None = None,
    **about: Any,
) -> None:
    """Imports the checkpoint `path` to `OUTPUT.h5` and `OUTPUT.json`, and prints a summary.

    Args:
        path: As for `import_checkpoint`.
        output: The same.
        name: Also register the weights on this machine: `weights=name` then finds them.
        classes_file: Names of the classes, one per line, in the order of their labels.
        **about: The other arguments of `import_checkpoint`; `None` for its defaults.
    """
    if name is not None:
        check_name("name", name)
    about = {argument: value for argument, value in about.items() if value is not None}
    if classes_file is not None:
        about["classes"] = tuple(filter(None, map(str.strip, read_text(classes_file).splitlines())))
    model = import_checkpoint(path, output, **about)
    weights, description = _outputs(output)
    values = json.loads(description.read_text())
    origin = values.pop("origin")
    if name is not None:
        metadata = Metadata.from_dict(values)
        with tempfile.TemporaryDirectory() as folder:
            release = packed.save(model, metadata, Path(folder) / "weights.safetensors")
            entry = register(release, name, metadata.model_name)
        print(f"Registered: weights={entry.name!r} for {entry.model}.")
    print(
        f"{path}: {origin['variant']}, {model.count_params():,} parameters -> "
        f"{weights}, {description}"
    )


def _outputs(output: str | Path) -> tuple[Path, Path]:
    name = str(path_of(output)).removesuffix(".h5")
    return Path(f"{name}.h5"), Path(f"{name}.json")
