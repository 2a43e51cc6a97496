"""A dataset of one's own: discs and squares, drawn when it is opened."""

import numpy as np

from larq_groupnet.data import dataset
from larq_groupnet.data.arrays import from_arrays

# In a recipe: dataset="shapes"; with its option: dataset="shapes?side=24".


@dataset("shapes")
def shapes(side="16"):
    """Returns any `Dataset`. Takes options as text, and `place`, `data_dir` where it needs them."""
    side, rng = int(side), np.random.default_rng(0)
    labels = np.arange(100) % 2
    rows, columns = np.mgrid[:side, :side] - side / 2
    distances = np.stack([np.hypot(rows, columns), np.maximum(abs(rows), abs(columns))])
    inside = distances[labels] < rng.uniform(2, side / 2, (100, 1, 1))
    images = np.where(inside[..., None], rng.integers(0, 256, (100, 1, 1, 3)), 0).astype("uint8")
    return from_arrays("shapes", (images, labels), class_names=["disc", "square"])
