"""What training starts from: an earlier run, a file of weights, or a registered set."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.errors import UserError
from larq_groupnet.family import BY_SIZE, build, get_config
from larq_groupnet.network.config import OPTIONS, GroupNetConfig, fields_affecting
from larq_groupnet.network.quantizers import CLASSES, has_latent_kernel
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.source import Source, find_source
from larq_groupnet.weights.described import metadata_of
from larq_groupnet.weights.metadata import compare
from larq_groupnet.weights.more_bases import grow, may_grow
from larq_groupnet.weights.registry import UnknownSetError
from larq_groupnet.weights.resolve import adopt, config_of, is_path, resolve

RANDOM = "none"
"""What `--start_from` says for random weights, where a recipe names others."""

LATENT = 0.2
"""Magnitude of a latent weight of which only the sign is stored.

At 1, a learning rate of 3e-3 needs hundreds of steps to change a sign. Of 192 photos, three bases
fitted 0.64 after 8 epochs from there, and 0.80 from 0.2 (one run each).
"""

_RATES = ("atrous_rates", "first_rates")
"""Options of each base that change no weight."""

_SAME_WEIGHTS = ("binary", "input_quantizer", "kernel_quantizer", "batch_norm_epsilon")
"""Options that may differ, because what is trained adapts to them."""


def with_start(
    recipe: Recipe, start_from: str | Path | None, given: Collection[str] = ()
) -> Recipe:
    """The recipe with what it starts from, and with the network that this needs.

    Args:
        recipe: A recipe.
        start_from: Instead of what the recipe says, or `None`.
        given: Options of the network that the user gave, which stay as they are.

    Returns:
        The recipe. If it starts from a registered set, options of its network that it leaves at
        their defaults are those of the set (see `resolve.adopt`), but for the image size, what
        affects only training and, where the stem's kernel is the same, the strides that suit it.

    Raises:
        RecipeError: If there is no such set; says how to get it.
    """
    start = str(start_from or recipe.start_from)
    recipe = dataclasses.replace(recipe, start_from="" if start == RANDOM else start)
    path = Path(recipe.start_from)
    if not recipe.start_from or path.is_dir() or is_path(recipe.start_from):
        return recipe
    default = get_config(recipe.name)
    chosen = {n for n in OPTIONS if getattr(recipe.model, n) != getattr(default, n)}
    kept = {*chosen, *given, "input_shape", *fields_affecting("training")}
    try:
        model = adopt(recipe.start_from, recipe.name, recipe.model, kept)
    except UnknownSetError as error:
        raise RecipeError(_no_start(recipe, error)) from error
    sized = model.replace(**{name: getattr(recipe.model, name) for name in BY_SIZE})
    if not compare(model, sized)[0]:
        model = sized
    return dataclasses.replace(recipe, model=model)


def check_start(recipe: Recipe) -> None:
    """Sees whether what training starts from is this network, before anything is built.

    The head may be another, and the bases may be fewer, see `more_bases`.

    Raises:
        RecipeError: If it is another network; says where they differ.
        UserError: If there is none.
    """
    source = _run_or_file(recipe)
    if source is None:
        return  # `with_start` has chosen the registered set that fits.
    different, _ = compare(source.config, recipe.model)
    free = {*_SAME_WEIGHTS, *(["num_bases"] if may_grow(source.config, recipe.model) else [])}
    if texts := [text for option, text in different.items() if option not in free]:
        raise RecipeError(
            f"start_from: expected weights of the network that is trained. "
            f"Received: {recipe.start_from}, of another: {'; '.join(texts)}. Give the options "
            "of those weights with --set."
        )


def learned_other_classes(recipe: Recipe, names: Sequence[str]) -> bool:
    """True if what training starts from is known to have learned other classes, or in other order.

    The network to be trained then gets a new head.

    Args:
        recipe: What is trained.
        names: The classes of its dataset.

    Raises:
        DatasetError: If the first phase is one of integers, which keeps the head that it gets.
    """
    known = _classes_of_start(recipe)
    first = next(phase for phase in recipe.phases if phase.epochs)
    if first.int8:
        check_classes(known, names, recipe.start_from, recipe.dataset)
    return bool(known) and list(known) != list(names)


def _classes_of_start(recipe: Recipe) -> Sequence[str]:
    if not recipe.start_from:
        return ()
    if source := _run_or_file(recipe):
        return source.classes
    known = metadata_of(resolve(recipe.start_from, recipe.name, _registered(recipe)))
    return known.classes if known else ()


def load_start(recipe: Recipe) -> tf.keras.Model | None:
    """The network that the first phase starts from; `None` for random weights.

    Raises:
        UserError: If there are no such weights, or those of another network.
    """
    if not recipe.start_from:
        return None
    try:
        source = _run_or_file(recipe)
        if source and source.recipe is not recipe:
            # As the network that it was trained as: phases copy weights by name, of a twin too.
            config, model = source.config, source.load()
        else:  # A registered set, or a file that nothing describes: all but another head.
            config = _registered(recipe)
            model = build(config, weights=recipe.start_from, name=recipe.name)
        _loosen(model)
        if may_grow(config, recipe.model) and not is_int8(model):
            bases = {n: getattr(recipe.model, n) for n in ("num_bases", *_RATES)}
            many = build(config.replace(**bases), name=recipe.name)
            grow(model, many, recipe.seed)
            model = many
    except UserError:
        raise
    except (OSError, ValueError) as error:  # Of Keras, which reads a phase of integers.
        raise RecipeError(
            f"start_from: expected weights that Keras can read. Received: {recipe.start_from}: "
            f"{error}"
        ) from error
    if is_int8(model):
        raise RecipeError(
            "start_from: expected real weights, such as those of a phase before the integers, "
            f"{recipe.start_from}/binary.h5. Received: {recipe.start_from}, which ends with "
            "integers"
        )
    return model


def _loosen(model: tf.keras.Model) -> None:
    """Gives latent kernels of which only signs are known `LATENT` as magnitude; outputs stay."""
    for layer in filter(has_latent_kernel, model.submodules):
        quantizer, kernel = CLASSES.get(type(layer.kernel_quantizer)), layer.kernel.numpy()
        if quantizer and quantizer.scale_free and (np.abs(kernel) == 1).all():
            layer.kernel.assign(LATENT * kernel)


def _run_or_file(recipe: Recipe) -> Source | None:
    """The run or file that training starts from; `None` for a registered set or random weights."""
    path = Path(recipe.start_from)
    if not recipe.start_from or not (path.is_dir() or is_path(recipe.start_from)):
        return None
    return find_source(_weights_before(recipe) if path.is_dir() else path, recipe)


def _registered(recipe: Recipe) -> GroupNetConfig:
    """The network of a recipe with the bases of the registered set that it starts from."""
    if is_path(recipe.start_from):
        return recipe.model
    theirs = config_of(recipe.start_from, recipe.name, recipe.model)
    grows = may_grow(theirs, recipe.model)
    return recipe.model.replace(num_bases=theirs.num_bases) if grows else recipe.model


def _weights_before(recipe: Recipe) -> Path:
    """In the folder of a run that has trained the phase before the first one, the weights of that.

    So a later phase can be repeated. Of another run, the folder, which stands for its last phase.
    """
    folder = Path(recipe.start_from)
    epochs = [phase.epochs > 0 for phase in recipe.phases]
    before = [phase.name for phase in recipe.phases[: epochs.index(True)]]
    files = [folder / f"{name}.h5" for name in reversed(before)]
    return next((file for file in files if file.is_file()), folder)


def _no_start(recipe: Recipe, error: UnknownSetError) -> str:
    return (
        "start_from: expected a run's folder, a weights file or a registered set. "
        f"Received: {recipe.start_from}. Give the folder or the file with --start_from, or start "
        f"from random weights: --start_from {RANDOM} ({error})"
    )
