"""Weights into a model, each to the one of its name; those of another head are left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
from numpy.typing import NDArray

from larq_groupnet.errors import MissingFileError, WeightsError
from larq_groupnet.network.names import is_of_head

if TYPE_CHECKING:
    import tensorflow as tf

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
    wrong = [name for name in left_out if not (other_head and is_of_head(name))]
    if wrong:
        raise mismatch(source, "weights", [left_out[name] for name in wrong])
    for weight in model.weights:
        if weight.name not in left_out:
            weight.assign(value(weight.name))
    return list(left_out.values())


def load_weights(model: tf.keras.Model, path: str | Path) -> None:
    """Loads an `.h5` weights file, or says which file does not fit which model."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"weights: expected an .h5 file. Received: {path} (no such file)")
    try:
        model.load_weights(path)
    except (ValueError, OSError) as error:
        raise WeightsError(
            f"weights: {path} does not fit the model {model.name!r}. Build it with the options "
            f"that the weights were trained with. Keras says: {error}"
        ) from error


def copy_weights(
    source: tf.keras.Model, target: tf.keras.Model, other_head: bool = False
) -> list[str]:
    """Copies every weight of `source` to the weight of the same name in `target`.

    This is how training phase 2 starts from phase 1: the tanh network and the binary one have the
    same weight names.

    Args:
        source: A model that `larq_groupnet` has built.
        target: Another one.
        other_head: Leave out weights of the head that only one of them has, or in another shape.

    Returns:
        The names of what was left out.

    Raises:
        ValueError: If the two models differ in a weight's name or shape; lists the differences.
    """
    values = {weight.name: weight for weight in source.weights}
    shapes = {name: tuple(weight.shape) for name, weight in values.items()}
    differences = sorted(set(shapes.items()) ^ set(shapes_of(target).items()))
    wrong = [(n, shape) for n, shape in differences if not (other_head and is_of_head(n))]
    if wrong:
        raise WeightsError(
            f"copy_weights: expected the same weights in {source.name!r} and {target.name!r}. "
            f"Received differences in: {', '.join(f'{n} {s}' for n, s in wrong)}"
        )
    left_out = {name for name, _ in differences}
    for weight in target.weights:
        if weight.name not in left_out:
            weight.assign(values[weight.name])
    return sorted(left_out)


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
