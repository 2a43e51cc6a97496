"""Weights into a model, each to the one of its name; those of another head are left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
from numpy.typing import NDArray

from larq_groupnet.errors import WeightsError

if TYPE_CHECKING:
    import tensorflow as tf

HEAD = ("head_", "logits/")
"""How the names of a head's weights start."""

_MAX_LISTED = 20

Shape = tuple[int, ...]


class MismatchError(WeightsError):
    """Weights of another network than the model. Lists the differences."""


def assign(
    model: tf.keras.Model,
    shapes: Mapping[str, Shape],
    value: Callable[[str], NDArray],
    source: str,
    other_head: bool,
) -> list[str]:
    """Sets every weight of a model; the model is untouched if that fails.

    Args:
        model: A model that `larq_groupnet.build` gave.
        shapes: Name -> shape of what there is.
        value: Gives the weight of a name.
        source: What to call the weights in an error.
        other_head: Leave out those of the head that do not fit, on either side.

    Returns:
        A text for each weight that was left out.

    Raises:
        MismatchError: If another weight is missing, left over or of another shape.
    """
    ours = shapes_of(model)
    left_out = {
        name: f"{name}: {shapes.get(name, 'absent')} in the file, "
        f"{ours.get(name, 'absent')} in the model"
        for name in sorted(ours.keys() | shapes.keys())
        if ours.get(name) != shapes.get(name)
    }
    wrong = [name for name in left_out if not (other_head and name.startswith(HEAD))]
    if wrong:
        raise mismatch(source, "weights", [left_out[name] for name in wrong])
    for weight in model.weights:
        if weight.name not in left_out:
            weight.assign(value(weight.name))
    return list(left_out.values())


def load_h5(model: tf.keras.Model, path: Path) -> None:
    """Loads what Keras' `save_weights` or `save` has written in HDF5.

    Such a file does not say what it was made for: whatever fits is loaded, and a warning lists the
    weights of the head that do not.

    Raises:
        MismatchError: If another weight than those of the head does not fit; lists them.
        OSError: If the file is damaged.
    """
    with h5py.File(path) as file:
        stored: dict[str, h5py.Dataset] = {}

        def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                stored[name.partition("/")[2]] = item  # Less the name of the layer.

        file.get("model_weights", file).visititems(note)
        shapes = {name: tuple(item.shape) for name, item in stored.items()}
        left_out = assign(model, shapes, lambda name: stored[name][()], str(path), True)
    if left_out:
        warn_left_out(path, left_out)


def warn_left_out(path: Path, left_out: Sequence[str]) -> None:
    """Says what of a file was not loaded."""
    warnings.warn(
        f"weights: {path}: left out, because the head is another: {'; '.join(left_out)}",
        UserWarning,
        stacklevel=3,
    )


def mismatch(source: str, what: str, differences: Sequence[str]) -> MismatchError:
    """The error for these differences, of which only the first are listed."""
    listed = list(differences[:_MAX_LISTED])
    if len(differences) > _MAX_LISTED:
        listed.append(f"and {len(differences) - _MAX_LISTED} more")
    return MismatchError(
        f"weights: {source} has other {what} than the model; build the model with the options of "
        "the file, or choose other weights:\n  " + "\n  ".join(listed)
    )


def shapes_of(model: tf.keras.Model) -> dict[str, Shape]:
    """Name of each weight -> its shape."""
    return {weight.name: tuple(weight.shape) for weight in model.weights}
