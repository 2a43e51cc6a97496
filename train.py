"""Trains a model of `zoo/`, converts it for Larq Compute Engine and shows what it does.

    python train.py --model groupnet_dsp
    python train.py --model groupnet_resnet18 --set num_bases=1 --epochs 1,3
    python train.py --model groupnet_resnet18 --evaluate runs/NAME
    python train.py --model groupnet_resnet18 --tune --tuner bayesian --max_ops 4e5

Every file in `zoo/` says what it needs and what it reaches. A run that was stopped goes on when it
is given the same --output_dir, or --resume.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging

if TYPE_CHECKING:
    from larq_groupnet.training import Recipe

ZOO = Path(__file__).resolve().parent / "zoo"
RUNS = Path("runs")

_MODEL = flags.DEFINE_string(
    "model", None, "Name of a file in zoo/, or path of one elsewhere.", required=True
)
_DATASET = flags.DEFINE_string("dataset", None, "Dataset; the recipe's by default.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets are kept.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for everything the run writes; runs/MODEL-TIME by default."
)
_RESUME = flags.DEFINE_bool("resume", False, "Go on with the newest run of this model in runs/.")
_EVALUATE = flags.DEFINE_string(
    "evaluate", None, "Only evaluate: a run's folder, or a weights file."
)
_START_FROM = flags.DEFINE_string(
    "start_from", None, "Start from the weights of a run's folder, or from a weights file."
)
_PHASE = flags.DEFINE_string(
    "phase",
    None,
    "Train only this phase of the recipe: with --start_from RUN, from that run's phase before it.",
)
_INT8_EPOCHS = flags.DEFINE_integer(
    "int8_epochs",
    0,
    "Epochs of a last phase, int8, with integers for all that is not binary.",
    lower_bound=0,
)
_ON_BAD_IMAGE = flags.DEFINE_string(
    "on_bad_image", None, "error, or skip to leave bad images of a folder out and list them."
)
_EPOCHS = flags.DEFINE_string("epochs", None, "Epochs of each phase: one number, or 2,12.")
_BATCH_SIZE = flags.DEFINE_string("batch_size", None, "Images per step.")
_SEED = flags.DEFINE_string("seed", None, "Seed of weights, data order and augmentation.")
_LEARNING_RATE = flags.DEFINE_string(
    "learning_rate", None, "Peak learning rate of each phase: one number, or 3e-3,1e-3."
)
_STRATEGY = flags.DEFINE_string(
    "strategy", "auto", "auto, one_device, mirrored, multi_worker (reads TF_CONFIG) or tpu."
)
_PRECISION = flags.DEFINE_string(
    "mixed_precision", "float32", "float32, mixed_bfloat16 or mixed_float16."
)
_JIT = flags.DEFINE_bool("jit_compile", False, "Compile the training step with XLA.")
_SET = flags.DEFINE_multi_string(
    "set", [], "key=value: any other field of the recipe or option of GroupNetConfig; repeatable."
)
_TUNE = flags.DEFINE_bool("tune", False, "Search the structure. --set key=a|b gives choices.")
_SEARCH = (
    flags.DEFINE_string("tuner", "random", "--tune: random, hyperband or bayesian."),
    flags.DEFINE_string("objective", "accuracy", "--tune: accuracy, or frontier (against OPs)."),
    flags.DEFINE_integer("max_trials", None, "--tune: 20; with hyperband, one sweep.", 1),
    flags.DEFINE_list("uniform", ["1", "2", "3", "5"], "--tune: uniform K to compare with."),
)
_TRIAL_EPOCHS = flags.DEFINE_string("trial_epochs", None, "--tune: --epochs of a trial.")
_BUDGET = (
    flags.DEFINE_float("max_ops", None, "--tune: real MACs + binary MACs / 64 for an image."),
    flags.DEFINE_float("max_memory", None, "--tune: bytes of parameters."),
    flags.DEFINE_float("max_binary_macs", None, "--tune: MACs of one bit for an image."),
)


def main(argv: list[str]) -> None:
    """Reads the flags into a recipe and runs it."""
    from larq_groupnet.training import RecipeError, load_recipe, only_phase, override, with_int8

    logging.set_verbosity(logging.WARNING)
    if len(argv) > 1:
        raise RecipeError(f"expected only flags. Received: {' '.join(argv[1:])}")
    data_dir = Path(_DATA_DIR.value)
    recipe = load_recipe(_MODEL.value, ZOO, _DATASET.value)
    changes = _changes()
    if _EVALUATE.value:
        from larq_groupnet.runs.saved import trained_recipe

        recipe = trained_recipe(_EVALUATE.value, recipe)
    if _DATASET.value not in (None, recipe.dataset):
        from larq_groupnet.training.run import adapt

        recipe = adapt(recipe, _DATASET.value, data_dir)
    _check_search_flags()
    if _TUNE.value:
        _tune(recipe, changes, data_dir)
        return
    of_added = [c for c in changes if _INT8_EPOCHS.value and c[0].startswith("int8.")]
    recipe = override(recipe, [change for change in changes if change not in of_added])
    if _INT8_EPOCHS.value:
        recipe = override(with_int8(recipe, _INT8_EPOCHS.value), of_added)
    if _PHASE.value:
        recipe = only_phase(recipe, _PHASE.value)
    output_dir = _output_dir(recipe.name)

    from larq_groupnet.report.table import classes_table, metrics_table, results_table
    from larq_groupnet.training.distribution import Runtime
    from larq_groupnet.training.run import disagreement, evaluate_only, run, write_json

    if _EVALUATE.value:
        results = evaluate_only(recipe, data_dir, _EVALUATE.value)
        print(metrics_table(results), classes_table(results), sep="\n")
        if _OUTPUT_DIR.value:
            write_json(output_dir / "evaluation.json", results)
        return
    runtime = Runtime(_STRATEGY.value, _PRECISION.value, _JIT.value)
    results = run(recipe, data_dir, output_dir, _START_FROM.value, runtime)
    if results is None:
        return
    print(results_table(results))
    if warning := disagreement(results):
        print(f"train.py: {warning}", file=sys.stderr)
    print(f"Everything is in {output_dir}; look at predictions.png and curves.png.")


def _tune(recipe: Recipe, changes: list[tuple[str, str]], data_dir: Path) -> None:
    from larq_groupnet.training import RecipeError, load_search
    from larq_groupnet.tuning import Budget, Plan, make_space

    declared = load_search(_MODEL.value, ZOO, recipe.dataset)
    budget = Budget(**{flag.name: flag.value for flag in _BUDGET})
    space = make_space(recipe, declared, changes, _TRIAL_EPOCHS.value, budget)
    if not all(bases.strip().isdecimal() for bases in _SEARCH[3].value):
        raise RecipeError(
            f"--uniform: expected integers, such as 1,2,3. Received: {_SEARCH[3].value}"
        )
    asked = {flag.name: flag.value for flag in _SEARCH}
    plan = Plan(**{**asked, "uniform": tuple(map(int, asked["uniform"]))})

    from larq_groupnet.report.search import search_table
    from larq_groupnet.training.distribution import Runtime
    from larq_groupnet.tuning.search import search

    runtime = Runtime(_STRATEGY.value, _PRECISION.value, _JIT.value)
    output_dir = _output_dir(f"{recipe.name}-tune")
    results = search(space, plan, data_dir, output_dir, runtime)
    if results is None:
        print("This worker is done; the chief writes the report.")
        return
    print(search_table(results))
    failed = sum(row["status"] == "failed" for row in results["trials"])
    print(f"{results['ended']}: {len(results['trials'])} trials, {failed} failed.")
    print(f"Everything is in {output_dir}; look at frontier.png. Train what was found with")
    for path in results["recipes"]:
        print(f"    python train.py --model {path}")


def _check_search_flags() -> None:
    from larq_groupnet.training import RecipeError

    if _TUNE.value:
        single = (_EVALUATE, _START_FROM, _PHASE, _INT8_EPOCHS)
        given = [f"--{flag.name}" for flag in single if flag.present]
        expected = "nothing of a single run beside --tune"
    else:
        flags_of_search = (*_SEARCH, _TRIAL_EPOCHS, *_BUDGET)
        given = [f"--{flag.name}" for flag in flags_of_search if flag.present]
        expected = "--tune beside the flags of a search"
    if given:
        raise RecipeError(f"tune: expected {expected}. Received: {', '.join(given)}")


def _output_dir(name: str) -> Path:
    if _OUTPUT_DIR.value:
        return Path(_OUTPUT_DIR.value)
    if not _RESUME.value:
        return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    from larq_groupnet.training import RecipeError

    runs = sorted(RUNS.glob(f"{name}-[0-9]*"))
    if not runs:
        raise RecipeError(
            f"--resume: expected a folder {RUNS / name}-TIME. Received: none. Name it with "
            "--output_dir, or leave --resume out."
        )
    return runs[-1]


def _changes() -> list[tuple[str, str]]:
    from larq_groupnet.recipes.overrides import split_option

    given = (_EPOCHS, _BATCH_SIZE, _SEED, _LEARNING_RATE, _ON_BAD_IMAGE)
    changes = [(flag.name, flag.value) for flag in given if flag.value is not None]
    return changes + [split_option(text) for text in _SET.value]


def _exit_on_user_error(argv: list[str]) -> None:
    """A wrong value is one line and status 2; anything else keeps its traceback."""
    try:
        from larq_groupnet import ConfigError
        from larq_groupnet.data import DatasetError
        from larq_groupnet.training import Interrupted, RecipeError
    except ImportError as error:
        sys.exit(f"train.py: {error}")
    try:
        main(argv)
    except (ConfigError, DatasetError, RecipeError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"\ntrain.py: {error}", file=sys.stderr)
        sys.exit(128 + error.signum)
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
