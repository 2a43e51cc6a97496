"""The recipes that several files of `zoo/` share."""

from __future__ import annotations

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.recipes.recipe import Phase, Recipe

STRUCTURE = {
    "num_bases": tuple(range(1, 9)),
    "decomposition": ("gated", "group", "layer"),
    "gate": ("block", "base"),
    "aggregation": ("scales", "mean"),
    "shortcut": ("conv", "block"),
}
"""Everything that distinguishes one Group-Net of a layout from another, for a search."""

CLASSIFIER_SEARCH = {
    "digits": {
        **STRUCTURE,
        "width": (0.125, 0.25, 0.5),
        "learning_rate": (1e-3, 3e-3, 1e-2),
        "schedule": ("cosine", "constant"),
    },
    "imagenet2012": {
        **STRUCTURE,
        "width": (0.5, 0.75, 1.0),
        "tanh.learning_rate": (0.02, 0.05, 0.1),
        "binary.learning_rate": (2.5e-4, 5e-4, 1e-3),
        "schedule": ("steps", "cosine"),
    },
}
"""Dataset -> what `train.py --tune` may vary in a Group-Net that classifies."""


def imagenet(name: str, model: GroupNetConfig) -> Recipe:
    """The authors' training on ImageNet: 40 epochs with tanh, then 40 binary ones.

    The first phase is SGD at 0.05 with weight decay 1e-4, a tenth after epochs 25 and 35; the
    second Adam at 5e-4, a tenth after epochs 20 and 30, both with 256 images a step. Decay is
    decoupled here (Keras), and leaves normalisations and biases alone. (The paper, as recalled,
    trains 50 binary epochs and drops after 30 and 40.) A network that is not binary has the first
    phase alone.
    """
    tanh = Phase(
        "tanh" if model.binary else "real",
        epochs=40,
        learning_rate=0.05,
        binary=False,
        optimizer="sgd",
        schedule="steps",
        drops=(25, 35),
        warmup_epochs=0,
        weight_decay=1e-4,
    )
    binary = Phase(
        "binary",
        epochs=40,
        learning_rate=5e-4,
        binary=True,
        schedule="steps",
        drops=(20, 30),
        warmup_epochs=0,
    )
    return Recipe(
        name=name,
        model=model,
        phases=(tanh, binary) if model.binary else (tanh,),
        dataset="imagenet2012",
        batch_size=256,
        augmentation="imagenet",
        normalisation="imagenet",
        central_crop=224 / 256,
    )


def digits(name: str, model: GroupNetConfig) -> Recipe:
    """A few minutes on scikit-learn's handwritten digits: Adam on a cosine in both phases."""
    tanh = Phase("tanh" if model.binary else "real", epochs=5, learning_rate=3e-3, binary=False)
    binary = Phase("binary", epochs=15, learning_rate=3e-3, binary=True)
    return Recipe(
        name=name,
        model=model,
        phases=(tanh, binary) if model.binary else (tanh,),
        dataset="digits",
        batch_size=32,
        augmentation="shift",
    )
