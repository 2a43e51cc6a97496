"""`train` in its four modes, and `judge`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from larq_groupnet.errors import RecipeError

AS_CHANGES = ("epochs", "batch_size", "seed", "learning_rate", "on_bad_image", "input_size")
"""Flags that are changes of the recipe by the same key, or nearly."""

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
"""What `train` does -> the flags that it takes then; any other is refused."""


def train(options: Mapping[str, Any], given: Collection[str]) -> None:
    """The command `train`, with the values of all flags and the names of those given.

    Raises:
        UserError: Before anything is written, if the flags do not fit together.
    """
    mode = _mode(options)
    if wrong := [name for name in given if name not in (*MODES[mode], mode)]:
        does = "train" if mode == "train" else f"--{mode}"
        raise RecipeError(
            f"{does}: expected no flag that it ignores. Received: "
            f"{', '.join(f'--{name}' for name in wrong)}. Leave it out."
        )
    o = _Options(options, given)
    if not o.model and not (o.dataset and mode == "train") and mode in ("train", "tune"):
        raise RecipeError(
            "model: expected --model NAME, a file of zoo/, or --dataset folder:PATH for images of "
            "one's own. Received: none."
        )
    if o.recipe and not o.model:
        raise RecipeError("recipe: expected --model beside --recipe. Received: --recipe alone.")
    {"tune": _tune, "evaluate": _evaluate, "resume": _resume, "train": _train}[mode](o)


def _mode(options: Mapping[str, Any]) -> str:
    if options["tune"]:
        return "tune"
    if options["evaluate"]:
        return "evaluate"
    return "resume" if options["resume"] else "train"


class _Options:
    """The flags by name, and what follows from several of them."""

    def __init__(self, options: Mapping[str, Any], given: Collection[str]):
        self._options, self.given = options, given

    def __getitem__(self, name: str) -> Any:
        return self._options[name]

    def __getattr__(self, name: str) -> Any:
        return self._options[name]

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Keys and texts for `override`."""
        from larq_groupnet.recipes.overrides import split_option

        names = (*AS_CHANGES, "start_from")
        flags = [(name, str(self._options[name])) for name in names if name in self.given]
        return flags + [split_option(text) for text in self.set]

    @property
    def sample(self) -> int | None:
        """Test images to judge on, 0 for all; `None` not to judge."""
        return None if self.judge == "none" else _sample("judge", self.judge)

    def folder(self, name: str) -> Path:
        """The output folder, the one to resume, or a new one."""
        from larq_groupnet.runs.folders import new_folder, newest_folder

        if self.output_dir:
            return Path(self.output_dir)
        return new_folder(name) if self.resume is None else newest_folder(name)

    def runtime(self) -> Any:
        """On what, and how precisely, to compute."""
        from larq_groupnet.training.distribution import Runtime

        return Runtime(*(self._options[name] for name in _RUNTIME))


def _train(o: _Options) -> None:
    from larq_groupnet.recipes.choose import choose

    choice = choose(
        o.model,
        o.data_dir,
        dataset=o.dataset,
        recipe=o.recipe,
        changes=o.changes,
        phase=o.phase,
        int8_epochs=o.int8_epochs,
        scale=o.scale_learning_rate,
    )
    folder = o.folder(choice.recipe.name)
    from larq_groupnet.training.run import run

    results = run(
        choice.recipe, o.data_dir, folder, o.start_from, o.runtime(), choice.notes, choice.given,
        o.sample,
    )  # fmt: skip
    _report(results, folder)


def _resume(o: _Options) -> None:
    from larq_groupnet.runs.folders import recipe_to_resume

    folder = Path(o.resume).expanduser()
    dataset = [("dataset", o.dataset)] if o.dataset else []
    recipe = recipe_to_resume(folder, [*dataset, *o.changes])
    if o.model not in (None, recipe.name):
        raise RecipeError(f"model: expected {recipe.name}, as in {folder}. Received: {o.model}.")
    from larq_groupnet.training.run import run

    results = run(recipe, o.data_dir, folder, runtime=o.runtime(), given=None, sample=o.sample)
    _report(results, folder)


def _sample(flag: str, text: str) -> int:
    """How many test images; 0 for all."""
    if text == "all":
        return 0
    if not text.isdecimal() or not int(text):
        raise RecipeError(f"{flag}: expected all or a number of test images. Received: {text}")
    return int(text)


def judge(
    run: Path,
    data_dir: Path,
    samples: str,
    threads: int | None,
    strategy: str,
    also: Collection[str],
    both_engines: bool,
) -> None:
    """The command `judge`."""
    from larq_groupnet.inference.judge import Judging, judge_run
    from larq_groupnet.training.distribution import open_strategy

    sample = _sample("samples", samples)
    how = Judging(sample, threads, open_strategy(strategy, alone=True), tuple(also), both_engines)
    _report(judge_run(run, data_dir, how), run)


def _report(results: Mapping[str, Any] | None, folder: Path) -> None:
    if results is None:  # A worker that is not the chief.
        return
    if not results:
        print(f"Trained, not judged: larq-groupnet judge {folder}")
        return
    from larq_groupnet.report.table import results_table
    from larq_groupnet.tasks.judgement import disagreement, no_better

    print(results_table(dict(results)))
    if poor := no_better(dict(results)):
        print(poor)
    if warning := disagreement(dict(results)):
        print(f"larq-groupnet: {warning}", file=sys.stderr)
    print(f"Everything is in {folder}; look at predictions.png and curves.png.")


def _evaluate(o: _Options) -> None:
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.runs.judging import recipe_to_judge

    base = choose(o.model, o.data_dir, recipe=o.recipe).recipe if o.model else None
    recipe = recipe_to_judge(o.evaluate, base, o.dataset, o.changes)
    from larq_groupnet.inference.evaluate import evaluate_only
    from larq_groupnet.inference.results import write_results
    from larq_groupnet.report.table import classes_table, metrics_table

    results = evaluate_only(recipe, o.data_dir, o.evaluate)
    print(metrics_table(results), classes_table(results), sep="\n")
    if o.output_dir:
        write_results(o.output_dir / "evaluation.json", results)


def _tune(o: _Options) -> None:
    from larq_groupnet.recipes import load_search
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.tuning import Budget, Plan, make_space

    # A text with | gives choices, which is for the space to read.
    single = [change for change in o.changes if "|" not in change[1]]
    choice = choose(o.model, o.data_dir, dataset=o.dataset, recipe=o.recipe, changes=single)
    declared = load_search(o.model, dataset=choice.recipe.dataset)
    budget = Budget(**{name: o[name] for name in _BUDGET})
    space = make_space(choice.recipe, declared, o.changes, o.trial_epochs, budget)
    plan = Plan(**{**{name: o[name] for name in _SEARCH}, "uniform": _integers(o.uniform)})

    from larq_groupnet.report.search import search_table
    from larq_groupnet.tuning.search import search

    folder = o.folder(f"{choice.recipe.name}-tune")
    results = search(space, plan, o.data_dir, folder, o.runtime())
    if results is None:
        print("This worker is done; the chief writes the report.")
        return
    print(search_table(results))
    failed = sum(row["status"] == "failed" for row in results["trials"])
    print(f"{results['ended']}: {len(results['trials'])} trials, {failed} failed.")
    print(f"Everything is in {folder}; look at frontier.png. Train what was found with")
    for path in results["recipes"]:
        print(f"    larq-groupnet train --model {path}")


def _integers(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise RecipeError(f"uniform: expected integers, such as 1,2,3. Received: {text}")
    return tuple(map(int, text.split(",")))
