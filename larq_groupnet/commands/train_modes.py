"""`train` in its four modes, and `judge`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from absl.flags import FlagValues as Flags

from larq_groupnet.errors import RecipeError
from larq_groupnet.files import path_of

AS_CHANGES = ("epochs", "batch_size", "seed", "learning_rate", "on_bad_image", "input_size")
"""Flags that change the recipe field of the same or a similar name."""

_RUNTIME = (
    "strategy", "mixed_precision", "jit_compile", "nondeterministic", "steps_per_execution",
    "snapshot_steps", "snapshot_minutes", "log_steps", "profile",
)  # fmt: skip
_SEARCH = ("tuner", "objective", "max_trials", "uniform")
_BUDGET = ("max_ops", "max_memory", "max_binary_macs")
_COMMON = ("data_dir", "output_dir", "set", *AS_CHANGES)
_CHOOSING = ("model", "dataset", "recipe")

MODES: dict[str, tuple[str, ...]] = {
    "tune": (*_CHOOSING, *_COMMON, *_RUNTIME, *_SEARCH, *_BUDGET, "trial_epochs", "resume"),
    "evaluate": (*_CHOOSING, *_COMMON),
    "resume": ("model", "dataset", "data_dir", "set", *AS_CHANGES, *_RUNTIME, "judge"),
    "train": (
        *_CHOOSING, *_COMMON, *_RUNTIME, "start_from", "phase", "int8_epochs", "resume", "judge",
        "scale_learning_rate",
    ),
}  # fmt: skip
"""Mode of `train` -> the flags that it takes; any other flag is refused."""


def train(f: Flags) -> None:
    """Train a recipe, convert the network and show the results.

    With --evaluate it only evaluates, with --tune it searches the structure.
    """
    mode = next((name for name in ("tune", "evaluate", "resume") if f[name].value), "train")
    if wrong := [name for name in given(f) if name not in (*MODES[mode], mode)]:
        does = "train" if mode == "train" else f"--{mode}"
        raise RecipeError(
            f"{does}: expected no flag that it ignores. Received: "
            f"{', '.join(f'--{name}' for name in wrong)}. Leave it out."
        )
    if not f.model and mode == "tune":
        raise RecipeError("model: expected --model NAME, a file of zoo/, to search. Received: none")
    if not f.model and not f.dataset and mode == "train":
        raise RecipeError(
            "model: expected --model NAME, a file of zoo/, or --dataset folder:PATH for your "
            "own images. Received: none."
        )
    if f.recipe and not f.model:
        raise RecipeError("recipe: expected --model with --recipe. Received: --recipe alone.")
    {"tune": _tune, "evaluate": _evaluate, "resume": _resume, "train": _train}[mode](f)


def given(f: Flags) -> list[str]:
    """The flags on the command line, sorted."""
    return sorted({f[name].name for name in f if f[name].present})


def _several(f: Flags, names: Iterable[str]) -> dict[str, Any]:
    return {name: f[name].value for name in names}


def changes_of(f: Flags) -> list[tuple[str, str]]:
    """Keys and texts for `override`."""
    from larq_groupnet.recipes.overrides import split_option

    names = [name for name in (*AS_CHANGES, "start_from") if f[name].present]
    flags = [(name, str(value)) for name, value in _several(f, names).items()]
    return flags + [split_option(text) for text in f.set]


def _judged(f: Flags) -> int | None:
    """Test images to judge on, 0 for all; `None` not to judge."""
    return None if f.judge == "none" else _sample("judge", f.judge)


def _folder(f: Flags, name: str) -> Path:
    """The output folder, the one to resume, or a new one."""
    from larq_groupnet.runs.folders import new_folder, newest_folder

    if f.output_dir:
        return Path(f.output_dir)
    return new_folder(name) if f.resume is None else newest_folder(name)


def _runtime(f: Flags, run: Path | None = None) -> Any:
    """Devices and precision: the flags, or else the settings of the run to resume."""
    from larq_groupnet.training.distribution import Runtime

    before = (run and Runtime.of_run(run)) or Runtime()
    fields = zip((field.name for field in dataclasses.fields(Runtime)), _RUNTIME, strict=True)
    given = {field: f[flag].value for field, flag in fields if f[flag].present}
    return dataclasses.replace(before, **given)


def _train(f: Flags) -> None:
    from larq_groupnet.recipes.choose import choose

    choice = choose(
        f.model,
        f.data_dir,
        dataset=f.dataset,
        recipe=f.recipe,
        changes=changes_of(f),
        phase=f.phase,
        int8_epochs=f.int8_epochs,
        scale=f.scale_learning_rate,
    )
    folder = _folder(f, choice.recipe.name)
    from larq_groupnet.training.run import run

    results = run(
        choice.recipe, f.data_dir, folder, f.start_from, _runtime(f), choice.notes, choice.given,
        _judged(f),
    )  # fmt: skip
    _report(results, folder, f.model)


def _resume(f: Flags) -> None:
    from larq_groupnet.recipes.load import load_recipes
    from larq_groupnet.runs.folders import recipe_to_resume

    folder = Path(f.resume).expanduser()
    if f.model:  # Its file may register names of the recipe.
        load_recipes(f.model)
    dataset = [("dataset", f.dataset)] if f.dataset else []
    recipe = recipe_to_resume(folder, [*dataset, *changes_of(f)])
    if f.model and Path(f.model).stem != recipe.name:
        raise RecipeError(f"model: expected {recipe.name}, as in {folder}. Received: {f.model}.")
    from larq_groupnet.training.run import run

    how = _runtime(f, folder)
    results = run(recipe, f.data_dir, folder, runtime=how, given=None, sample=_judged(f))
    _report(results, folder, f.model)


def _sample(flag: str, text: str) -> int:
    """Number of test images; 0 for all."""
    if text == "all":
        return 0
    if not text.isdecimal() or not int(text):
        raise RecipeError(f"{flag}: expected all or a number of test images. Received: {text}")
    return int(text)


def judge(f: Flags, run: str) -> None:
    """Convert a trained run and evaluate network and file, like the end of train --judge=all."""
    from larq_groupnet.inference.judge import Judging, judge_run
    from larq_groupnet.training.distribution import open_strategy

    folder, sample = path_of(run), _sample("samples", f.samples)
    strategy = open_strategy(f.strategy, alone=True)
    how = Judging(sample, f.threads, strategy, tuple(f.also), f.both_engines)
    _report(judge_run(folder, f.data_dir, how), folder)


def _report(results: Mapping[str, Any] | None, folder: Path, model: str | None = None) -> None:
    if results is None:  # A worker that is not the chief.
        return
    if not results:
        again = f"judge {folder}"
        if model and model.endswith(".py"):  # It may register names, and judge does not load it.
            again = f"train --resume {folder} --model {model}"
        print(f"Trained, not judged: larq-groupnet {again}")
        return
    from larq_groupnet.report.table import results_table
    from larq_groupnet.tasks.judgement import disagreement, no_better

    print(results_table(dict(results)))
    if poor := no_better(dict(results)):
        print(poor)
    if warning := disagreement(dict(results)):
        print(f"larq-groupnet: {warning}", file=sys.stderr)
    print(f"Everything is in {folder}; look at predictions.png and curves.png.")


def _evaluate(f: Flags) -> None:
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.runs.judging import recipe_to_judge

    base = choose(f.model, f.data_dir, recipe=f.recipe).recipe if f.model else None
    recipe = recipe_to_judge(f.evaluate, base, f.dataset, changes_of(f))
    from larq_groupnet.inference.evaluate import evaluate_only
    from larq_groupnet.inference.results import write_results
    from larq_groupnet.report.table import classes_table, metrics_table

    results = evaluate_only(recipe, f.data_dir, f.evaluate)
    print(metrics_table(results), classes_table(results), sep="\n")
    if f.output_dir:
        write_results(f.output_dir / "evaluation.json", results)


def _tune(f: Flags) -> None:
    from larq_groupnet.recipes import load_recipes
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.tuning import Budget, Plan, make_space

    # Texts with | are choices, which make_space reads.
    single = [change for change in changes_of(f) if "|" not in change[1]]
    choice = choose(f.model, f.data_dir, dataset=f.dataset, recipe=f.recipe, changes=single)
    file = load_recipes(f.model)
    declared = file.search_for(choice.recipe.dataset)
    budget = Budget(**_several(f, _BUDGET))
    space = make_space(choice.recipe, declared, changes_of(f), f.trial_epochs, budget)
    plan = Plan(**_several(f, _SEARCH))

    from larq_groupnet.report.search import search_table
    from larq_groupnet.tuning.search import search

    folder = _folder(f, f"{choice.recipe.name}-tune")
    results = search(space, plan, f.data_dir, folder, _runtime(f), file.own_file)
    if results is None:
        print("This worker is done; the chief writes the report.")
        return
    print(search_table(results))
    failed = sum(row["status"] == "failed" for row in results["trials"])
    print(f"{results['ended']}: {len(results['trials'])} trials, {failed} failed.")
    print(f"Everything is in {folder}; look at frontier.png. Train the result with")
    for path in results["recipes"]:
        print(f"    larq-groupnet train --model {path}")
