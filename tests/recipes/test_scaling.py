"""Learning rates scale with the batch size."""

from pathlib import Path

import pytest

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.choose import choose


def chosen(*changes, **options):
    return choose(
        "groupnet_resnet18", Path("nowhere"), dataset="imagenet2012", scale=True,
        changes=[change.split("=") for change in changes], **options,
    )  # fmt: skip


def test_descent_scales_with_the_batch_and_adam_with_its_root():
    choice = chosen("batch_size=1024")
    tanh, binary = choice.recipe.phases  # From 0.05 (SGD) and 5e-4 (Adam) at 256.
    assert tanh.learning_rate == pytest.approx(0.2)
    assert binary.learning_rate == pytest.approx(1e-3)
    assert (tanh.warmup_epochs, binary.warmup_epochs) == (5, 0)
    assert "tanh: learning rate 0.05 for batches of 256, 0.2 for 1024 (linear)" in choice.notes[1]
    tanh, binary = chosen("batch_size=64").recipe.phases
    assert tanh.learning_rate == pytest.approx(0.0125) and tanh.warmup_epochs == 0
    assert binary.learning_rate == pytest.approx(2.5e-4)


def test_warm_up_that_was_given_stays():
    assert chosen("batch_size=512", "warmup_epochs=2").recipe.phases[0].warmup_epochs == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["batch_size=512", "tanh.learning_rate=0.1"], "no tanh.learning_rate with it"),
        (["batch_size=256"], "expected a --batch_size other than the recipe's 256"),
    ],
)
def test_what_would_be_scaled_or_not_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        chosen(*changes)
