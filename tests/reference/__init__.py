"""An independent Group-Net, and the random parameters it is compared on. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def random_images(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Standard normal values."""
    return np.random.default_rng(seed).normal(size=shape)


def random_parameter(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A value that hides no mistake: nothing is 0, 1, equal to its neighbour or of one sign only.

    Args:
        name: Keras weight name, whose last part says what it is (`.../gamma:0`).
        shape: Shape of the result.
        rng: Source of randomness.
    """
    signs = rng.choice([-1.0, 1.0], shape)
    return {
        "kernel": lambda: signs * rng.uniform(0.01, 1.0, shape),
        "bias": lambda: rng.normal(size=shape),
        "gamma": lambda: signs * rng.uniform(0.3, 1.5, shape),
        "beta": lambda: rng.normal(size=shape),
        "moving_mean": lambda: rng.normal(0.0, 2.0, shape),
        "moving_variance": lambda: rng.uniform(0.5, 6.0, shape),
        "scales": lambda: signs * rng.uniform(0.2, 1.2, shape),
        "theta": lambda: rng.uniform(-3.0, 3.0, shape),
    }[name.rsplit("/", 1)[-1].removesuffix(":0")]()


def randomise(weights: Iterable[Any], seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Sets Keras variables to random values and returns them by name.

    Args:
        weights: What `model.weights` gives.
        seed: Of the random values, which also depend on the order of the weights.
    """
    rng = np.random.default_rng(seed)
    params: dict[str, NDArray[np.float64]] = {}
    for weight in weights:
        if weight.name in params:
            raise ValueError(f"Two weights of one name. Received: {weight.name}")
        params[weight.name] = random_parameter(weight.name, tuple(weight.shape), rng)
        weight.assign(params[weight.name])
    return params


def assign(weights: Iterable[Any], params: dict[str, NDArray[np.float64]]) -> None:
    """Sets each Keras variable to the parameter of its name; parameters may be left over."""
    for weight in weights:
        weight.assign(params[weight.name])
