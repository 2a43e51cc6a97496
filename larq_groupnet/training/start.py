"""Loads what training starts from: an earlier run, a file of weights, or a registered set."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.errors import UserError
from larq_groupnet.family import build
from larq_groupnet.network.quantizers import CLASSES, has_latent_kernel
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.runs.start import registered, run_or_file
from larq_groupnet.weights.more_bases import grow, may_grow

LATENT = 0.2
"""Magnitude of a latent weight if only its sign is stored.

At 1, a learning rate of 3e-3 needs hundreds of steps to change a sign. After 8 epochs, three bases
fitted 0.64 of 192 photos from 1, and 0.80 from 0.2 (one run each).
"""

_RATES = ("atrous_rates", "first_rates")
"""Options per base that change no weights."""


def load_start(recipe: Recipe) -> tf.keras.Model | None:
    """The network that the first phase starts from; `None` for random weights.

    Raises:
        UserError: If the weights do not exist, or belong to another network.
    """
    if not recipe.start_from:
        return None
    try:
        source = run_or_file(recipe)
        if source and source.recipe is not recipe:
            # Keeps the trained configuration: phases copy weights by name, also from a twin.
            config, model = source.config, source.load()
        else:  # A registered set or a file without a description: all but a different head.
            config = registered(recipe)
            model = build(config, weights=recipe.start_from, name=recipe.name)
        _loosen(model)
        if may_grow(config, recipe.model) and not is_int8(model):
            bases = {n: getattr(recipe.model, n) for n in ("num_bases", *_RATES)}
            many = build(config.replace(**bases), name=recipe.name)
            grow(model, many, recipe.seed)
            model = many
    except UserError:
        raise
    except (OSError, ValueError) as error:  # Keras reads an int8 phase.
        raise RecipeError(
            f"start_from: expected weights that Keras can read. Received: {recipe.start_from}: "
            f"{error}"
        ) from error
    if is_int8(model):
        raise RecipeError(
            "start_from: expected real weights, such as the weights of the phase before int8, "
            f"{recipe.start_from}/binary.h5. Received: {recipe.start_from}, whose last phase is "
            "int8"
        )
    return model


def _loosen(model: tf.keras.Model) -> None:
    """Sets the magnitude of latent kernels that hold only signs to `LATENT`; outputs stay."""
    for layer in filter(has_latent_kernel, model.submodules):
        quantizer, kernel = CLASSES.get(type(layer.kernel_quantizer)), layer.kernel.numpy()
        if quantizer and quantizer.scale_free and (np.abs(kernel) == 1).all():
            layer.kernel.assign(LATENT * kernel)
