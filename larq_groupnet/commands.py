"""What the commands of `cli` do: find the recipe or the network, make the call, print."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.errors import RecipeError

_AS_CHANGES = ("epochs", "batch_size", "seed", "learning_rate", "on_bad_image", "input_size")

_RUNTIME = (
    "strategy", "mixed_precision", "jit_compile", "nondeterministic", "steps_per_execution",
    "snapshot_steps", "snapshot_minutes", "log_steps", "profile",
)  # fmt: skip
_SEARCH = ("tuner", "objective", "max_trials", "uniform")
_BUDGET = ("max_ops", "max_memory", "max_binary_macs")
_COMMON = ("data_dir", "output_dir", "set", *_AS_CHANGES)
_CHOOSING = ("model", "dataset", "recipe")

MODES: dict[str, tuple[str, ...]] = {
    "tune": (*_CHOOSING, *_COMMON, *_RUNTIME, *_SEARCH, *_BUDGET, "trial_epochs", "resume"),
    "evaluate": (*_CHOOSING, *_COMMON),
    "resume": ("model", "dataset", "data_dir", "set", *_AS_CHANGES, *_RUNTIME, "judge"),
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

        names = (*_AS_CHANGES, "start_from")
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


def check(dataset: str, data_dir: Path) -> int:
    """The command `check`; 1 if a file is bad."""
    from larq_groupnet.data.folders import FolderDataset
    from larq_groupnet.data.pipeline import open_dataset

    found = open_dataset(dataset, data_dir)
    if not isinstance(found, FolderDataset):
        raise RecipeError(
            f"check: expected a dataset whose files lie in a folder, such as folder:PATH. "
            f"Received: {dataset}, whose records were checked as they were written."
        )
    counts = ", ".join(f"{role} {size}" for role, size in found.sizes.items())
    print(f"{found.name}: {len(found.classes)} classes; {counts}")
    bad = found.look_again().bad
    for file, reason in bad.items():
        print(f"{file}: {reason}")
    print(f"{len(bad)} bad files" + ("; --on_bad_image=skip leaves them out" if bad else ""))
    return 1 if bad else 0


def judge(
    run: Path,
    data_dir: Path,
    samples: str,
    threads: int | None,
    strategy: str,
    also: Collection[str],
) -> None:
    """The command `judge`."""
    from larq_groupnet.inference.judge import Judging, judge_run
    from larq_groupnet.training.distribution import open_strategy

    sample = _sample("samples", samples)
    how = Judging(sample, threads, open_strategy(strategy, alone=True), tuple(also))
    _report(judge_run(run, data_dir, how), run)


def _report(results: Mapping[str, Any] | None, folder: Path) -> None:
    if results is None:  # A worker that is not the chief.
        return
    if not results:
        print(f"Trained, not judged: larq-groupnet judge {folder}")
        return
    from larq_groupnet.report.table import results_table
    from larq_groupnet.tasks.judgement import disagreement

    print(results_table(dict(results)))
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


def predict(
    source: str,
    images: str,
    output: Path,
    data_dir: Path,
    scales: str | None,
    asked: Mapping[str, Any],
) -> int:
    """The command `predict`; 1 if an image was passed over."""
    preprocessing = {name: value for name, value in asked.items() if value is not None}
    if scales is not None:
        preprocessing["scales"] = _scales(scales)
    from larq_groupnet.inference.predict import predict_files
    from larq_groupnet.inference.sources import load_predictor

    predictor = load_predictor(source, data_dir, **preprocessing)
    done, passed_over = predict_files(predictor, Path(images).expanduser(), output)
    print(f"{done} images predicted, results in {output}; {len(passed_over)} passed over")
    return 1 if passed_over else 0


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(map(float, text.split(",")))
    except ValueError:
        scales = (0.0,)
    if not all(0 < scale < math.inf for scale in scales):
        raise RecipeError(f"scales: expected factors above 0, such as 0.5,1,1.5. Received: {text}")
    return scales


def evaluate(
    source: str,
    dataset: str | None,
    data_dir: Path,
    split: str,
    output: Path | None,
    on_bad_image: str,
) -> None:
    """The command `evaluate`."""
    from larq_groupnet.inference.judge_file import judge_file
    from larq_groupnet.report.table import metrics_table

    print(metrics_table(judge_file(source, dataset, data_dir, split, output, on_bad_image)))
    if output is not None:
        print(f"{output} has evaluation.json, confusion.png and predictions.png.")


def convert(
    source: str,
    output: Path,
    data_dir: Path,
    size: tuple[int, int] | None,
    samples: int | None,
    int8: bool,
) -> None:
    """The command `convert`. Images are read only for integers, or if `samples` are asked for."""
    from larq_groupnet.runs.saved import is_whole_model, load_whole_model
    from larq_groupnet.runs.source import find_source

    if not int8 and is_whole_model(source):
        from larq_groupnet import deploy

        shape = (*size, 3) if size else None
        path = deploy.convert(load_whole_model(source), output, input_shape=shape)
        print(f"{path}: verified on noise; it does not say its classes or how to read an image")
        return
    own = find_source(source)
    found = own.sized(size)
    if int8:
        from larq_groupnet.training.int8 import convert_run

        path = convert_run(source, output, data_dir, samples=samples or 64, size=size)
        print(f"{path}: verified")
        if size in (None, own.config.input_shape[:2]):
            from larq_groupnet.inference.judge_file import cost_of_integers

            print(cost_of_integers(source, path, data_dir))
        return
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import data_of, describe, first_images

    images = first_images(data_of(found, data_dir), "test", samples) if samples else None
    description = describe(found, data_dir)
    path = deploy.convert(found.load(), output, data=images, description=description)
    print(f"{path}: verified on {f'{len(images)} test images' if images is not None else 'noise'}")


def audit(source: str, size: tuple[int, int] | None) -> int:
    """The command `audit`; 1 if something is wrong."""
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import is_whole_model, load_whole_model
    from larq_groupnet.runs.source import find_source

    if Path(source).suffix == ".tflite":
        if size is not None:
            raise RecipeError(f"input_size: expected none for a converted file. Received: {size}")
        findings = deploy.audit(Path(source).expanduser())
    else:
        whole = is_whole_model(source)
        model = load_whole_model(source) if whole else find_source(source).sized(size).load()
        findings = [*deploy.audit(model), *deploy.advise(model)]
    print("\n".join(map(str, findings)) or f"{source}: nothing found")
    return 1 if any(finding.severity == "wrong" for finding in findings) else 0


def verify(
    source: str,
    file: str,
    output: Path | None,
    data_dir: Path,
    size: tuple[int, int] | None,
    samples: int,
) -> None:
    """The command `verify`."""
    from larq_groupnet import deploy
    from larq_groupnet.deploy.description import read_description
    from larq_groupnet.runs.identity import check_classes
    from larq_groupnet.runs.saved import data_of, first_images
    from larq_groupnet.runs.source import find_source

    found, path = find_source(source).sized(size), Path(file).expanduser()
    names = (read_description(path) or {}).get("classes", ())
    check_classes(found.classes, names, source, file)
    images = first_images(data_of(found, data_dir), "test", samples)
    print(deploy.verify(found.load(), path, images, output))


def summary(source: str, options: Mapping[str, Any], as_json: bool, given: Collection[str]) -> None:
    """The command `summary`: of trained weights, of what `train` trains, or of a model by name."""
    from larq_groupnet.network.complexity import format_json, report

    config, notes = _config(source, options, given)
    print(format_json(config) if as_json else "\n".join([*notes, report(config)]))


def _config(
    source: str, options: Mapping[str, Any], given: Collection[str]
) -> tuple[Any, Sequence[str]]:
    """The network, and lines about its training."""
    from larq_groupnet.family import arguments, get_config, list_models
    from larq_groupnet.recipes.announce import training_line
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.recipes.overrides import parse_options, parse_size, split_option
    from larq_groupnet.runs.folders import recipe_to_resume
    from larq_groupnet.runs.source import find_source

    texts = [f"{name}={options[name]}" for name in _AS_CHANGES if name in given]
    texts += options["set"]
    if Path(source).expanduser().is_dir():
        if wrong := {"dataset", "recipe", "phase", "int8_epochs"} & {*given}:
            raise RecipeError(
                "summary: expected no flag that it ignores beside a run. "
                f"Received: {', '.join(f'--{name}' for name in sorted(wrong))}"
            )
        recipe = recipe_to_resume(Path(source).expanduser(), list(map(split_option, texts)))
        return recipe.model, [training_line(recipe)]
    if Path(source).suffix not in ("", ".py") or _is_registered(source):
        if set(given) - {"input_size", "data_dir", "json"}:
            raise RecipeError("summary: expected nothing but --input_size beside trained weights.")
        sizes = options["input_size"] and parse_size(options["input_size"])
        return find_source(source).sized(sizes or None).config, []
    trains = {"dataset", "recipe", "phase", "int8_epochs", *_AS_CHANGES} - {"input_size"}
    if source in list_models() and not trains & {*given}:
        config = get_config(source, **parse_options(texts, arguments(source)))
        return config, [
            f"The model {source} as get_model builds it; --recipe or --dataset counts what train "
            "trains."
        ]
    changes = list(map(split_option, texts))
    which = {name: options[name] for name in ("dataset", "recipe", "phase", "int8_epochs")}
    choice = choose(source, options["data_dir"], changes=changes, **which)
    return choice.recipe.model, [*choice.notes, training_line(choice.recipe)]


def _is_registered(name: str) -> bool:
    from larq_groupnet.weights.registry import list_weights

    return any(name in (each.name, f"{each.model}:{each.name}") for each in list_weights())


def weights(words: Collection[str], output: Path) -> int:
    """The command `weights`; 1 if a file is damaged."""
    from larq_groupnet.weights import registry

    match tuple(words):
        case ("list",):
            print(registry.table(registry.verify()))
        case ("fetch", name, model):
            print("\n".join(map(str, registry.fetch(name, model))))
        case ("verify",):
            states = registry.verify()
            print(registry.table(states))
            return 1 if any(state == "damaged" for _, state in states) else 0
        case ("publish", run, name, *licence):
            from larq_groupnet.training.publish import publish

            entry = publish(run, name, output, licence="".join(licence))
            print(f"{output}/{entry.file}: {entry.size / 2**20:.2f} MiB, card beside it")
        case _:
            raise RecipeError(
                "weights: expected list, fetch NAME MODEL, verify or publish RUN_OR_FILE NAME "
                f"[LICENCE]. Received: {' '.join(words)}"
            )
    return 0
