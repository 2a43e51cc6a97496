"""Trains a model of `zoo/`, converts it for Larq Compute Engine and shows what it does.

    python train.py --model groupnet_dsp
    python train.py --model groupnet_dsp --set num_bases=1 --epochs 1,3

Every file in `zoo/` says what it needs and what it reaches.
"""

import sys
import time
from pathlib import Path

from absl import app, flags, logging

ZOO = Path(__file__).resolve().parent / "zoo"

_MODEL = flags.DEFINE_string("model", None, "Name of a file in zoo/.", required=True)
_DATASET = flags.DEFINE_string("dataset", None, "Dataset; the recipe's by default.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets are kept.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "New folder for everything the run writes; runs/MODEL-TIME by default."
)
_EPOCHS = flags.DEFINE_string("epochs", None, "Epochs of each phase: one number, or 2,12.")
_BATCH_SIZE = flags.DEFINE_string("batch_size", None, "Images per step.")
_SEED = flags.DEFINE_string("seed", None, "Seed of weights, data order and augmentation.")
_LEARNING_RATE = flags.DEFINE_string(
    "learning_rate", None, "Peak learning rate of each phase: one number, or 3e-3,1e-3."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "key=value: any other field of the recipe or option of GroupNetConfig; repeatable."
)


def main(argv: list[str]) -> None:
    """Reads the flags into a recipe and runs it."""
    from larq_groupnet.training import RecipeError, load_recipe, override

    logging.set_verbosity(logging.WARNING)
    if len(argv) > 1:
        raise RecipeError(f"expected only flags. Received: {' '.join(argv[1:])}")
    recipe = override(load_recipe(_MODEL.value, ZOO), _changes())
    output_dir = Path(_OUTPUT_DIR.value or f"runs/{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}")

    from larq_groupnet.report.table import results_table
    from larq_groupnet.training.run import disagreement, run

    results = run(recipe, Path(_DATA_DIR.value), output_dir)
    print(results_table(results))
    if warning := disagreement(results):
        print(f"train.py: {warning}", file=sys.stderr)
    print(f"Everything is in {output_dir}; look at predictions.png and curves.png.")


def _changes() -> list[tuple[str, str]]:
    from larq_groupnet.training.recipe import split_option

    given = (_DATASET, _EPOCHS, _BATCH_SIZE, _SEED, _LEARNING_RATE)
    changes = [(flag.name, flag.value) for flag in given if flag.value is not None]
    return changes + [split_option(text) for text in _SET.value]


def _exit_on_user_error(argv: list[str]) -> None:
    """A wrong value is one line and status 2; anything else keeps its traceback."""
    try:
        from larq_groupnet import ConfigError
        from larq_groupnet.training import RecipeError
    except ImportError as error:
        sys.exit(f"train.py: {error}")
    try:
        main(argv)
    except (ConfigError, RecipeError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, ArithmeticError) as error:  # Disk and folders; a run that diverged.
        sys.exit(f"train.py: {error}")


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(_exit_on_user_error, flags_parser=_parse_flags)
