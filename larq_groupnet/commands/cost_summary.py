"""`summary`: which network its words mean, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.commands.train_modes import AS_CHANGES
from larq_groupnet.errors import RecipeError


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

    texts = [f"{name}={options[name]}" for name in AS_CHANGES if name in given]
    texts += options["set"]
    if Path(source).expanduser().is_dir():
        if wrong := {"dataset", "recipe", "phase", "int8_epochs"} & {*given}:
            raise RecipeError(
                "summary: expected no flag that it ignores beside a run. "
                f"Received: {', '.join(f'--{name}' for name in sorted(wrong))}"
            )
        recipe = recipe_to_resume(Path(source).expanduser(), list(map(split_option, texts)))
        return recipe.model, [training_line(recipe)]
    is_path = len(Path(source).parts) > 1 and not Path(source).with_suffix(".py").is_file()
    if Path(source).suffix not in ("", ".py") or is_path or _is_registered(source):
        if set(given) - {"input_size", "data_dir", "json"}:
            raise RecipeError("summary: expected nothing but --input_size beside trained weights.")
        sizes = options["input_size"] and parse_size(options["input_size"])
        return find_source(source).sized(sizes or None).config, []
    trains = {"dataset", "recipe", "phase", "int8_epochs", *AS_CHANGES} - {"input_size"}
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
