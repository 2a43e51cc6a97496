"""Copies weights into a model by name: the only matcher of the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import WeightsError
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.names import is_of_head
from larq_groupnet.weights.metadata import compare

if TYPE_CHECKING:
    import tensorflow as tf

_MAX_LISTED = 8

Shape = tuple[int, ...]


class MismatchError(WeightsError):
    """The weights belong to another network. Lists the differences in one line."""


def assign(
    model: tf.keras.Model,
    shapes: Mapping[str, Shape],
    value: Callable[[str], Any],
    source: str,
    other_head: bool,
    new_head: bool = False,
) -> dict[str, str]:
    """Sets every weight of a model, or none if the names or shapes do not fit.

    Args:
        model: A model made by `larq_groupnet.build`.
        shapes: Name -> shape of the given weights.
        value: Returns the weight of a name: an array or a variable.
        source: Name of the weights for an error.
        other_head: Leave out weights of the head that do not fit, on either side.
        new_head: Leave out all weights of the head, as for other classes.

    Returns:
        Name of each weight left out -> the reason.

    Raises:
        MismatchError: If any other weight is missing, left over or has another shape.
    """
    ours = shapes_of(model)
    left_out = {
        name: f"{name}: {shapes.get(name, 'absent')} there, {ours.get(name, 'absent')} in the model"
        for name in sorted(ours.keys() | shapes.keys())
        if ours.get(name) != shapes.get(name) or (new_head and is_of_head(name))
    }
    wrong = [name for name in left_out if not ((other_head or new_head) and is_of_head(name))]
    if wrong:
        raise mismatch(source, "weights", [left_out[name] for name in wrong])
    wanted = [weight for weight in model.weights if weight.name not in left_out]
    # All are read before the first is set: the file may be damaged.
    for weight, found in zip(wanted, [value(weight.name) for weight in wanted], strict=True):
        weight.assign(found)
    return left_out


def copy_weights(
    source: tf.keras.Model,
    target: tf.keras.Model,
    other_head: bool = False,
    new_head: bool = False,
) -> list[str]:
    """Copies every weight of `source` to the weight of the same name in `target`.

    Training phase 2 starts from phase 1 this way: the tanh network and the binary one have the same
    weight names.

    Args:
        source: A model that `larq_groupnet` has built.
        target: Another one.
        other_head: Leave out weights of the head that one model lacks or has in another shape.
        new_head: Leave out all weights of the head.

    Returns:
        The names of the weights that were left out.

    Raises:
        MismatchError: If the two models differ in a weight's name or shape. Lists the differences.
        WeightsError: If one of them is not a model, or has no weights yet.
    """
    for model in (source, target):
        if not getattr(model, "built", False):
            raise WeightsError(
                f"copy_weights: expected two built models. Received: {type(model).__name__}. To "
                "load a file, use model.load_weights(file), or weights=file when building the model"
            )
    values = {weight.name: weight for weight in source.weights}
    name = f"model {source.name!r}"
    shapes = shapes_of(source)
    return list(assign(target, shapes, values.__getitem__, name, other_head, new_head))


def check_options(source: str, theirs: GroupNetConfig, ours: GroupNetConfig) -> list[str]:
    """Compares the configurations of weights and of a model.

    Args:
        source: Name of the weights for an error.
        theirs: The configuration that the weights were made with.
        ours: The configuration of the model.

    Returns:
        A note for each option that changes what the weights compute.

    Raises:
        MismatchError: If they belong to another network. Lists the options that differ.
    """
    different, noted = compare(theirs, ours)
    if different:
        raise mismatch(source, "options", list(different.values()))
    return list(noted.values())


def has_other_head(path: Path, theirs: GroupNetConfig, ours: GroupNetConfig) -> bool:
    """True if the head or its number of classes differs. Warns with the notes of `check_options`.

    Raises:
        MismatchError: If they belong to another network.
    """
    for note in check_options(str(path), theirs, ours):
        warnings.warn(f"weights: {path}: {note}", UserWarning, stacklevel=3)
    return (theirs.head, theirs.num_classes) != (ours.head, ours.num_classes)


def warn_left_out(path: Path, left_out: Mapping[str, str]) -> None:
    """Warns about the weights of a file that were not loaded, if any."""
    if left_out:
        warnings.warn(
            f"weights: {path}: loaded; left out, because the head differs: "
            f"{_first(list(left_out.values()))}",
            UserWarning,
            stacklevel=3,
        )


def mismatch(source: str, what: str, differences: Sequence[str]) -> MismatchError:
    """The error for these differences; it lists the first ones."""
    return MismatchError(
        f"weights: {source} has different {what} than the model ({_first(differences)}). Build the "
        "model with the options of the weights, or choose other weights"
    )


def _first(differences: Sequence[str]) -> str:
    """The first ones, and the number of the others."""
    more = len(differences) - _MAX_LISTED
    return "; ".join([*differences[:_MAX_LISTED], *([f"and {more} more"] if more > 0 else [])])


def shapes_of(model: tf.keras.Model) -> dict[str, Shape]:
    """Name of each weight -> its shape."""
    return {weight.name: tuple(weight.shape) for weight in model.weights}
