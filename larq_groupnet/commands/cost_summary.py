"""`summary`: finds the network and counts its costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues as Flags

from larq_groupnet.commands.train_modes import AS_CHANGES, changes_of, given
from larq_groupnet.errors import RecipeError
from larq_groupnet.files import path_of


def summary(f: Flags, source: str) -> None:
    """Count MACs, OPs and memory of a model, trained weights or the network of a recipe.

    It takes train's flags that change the recipe.
    """
    from larq_groupnet.network.complexity import format_json, report

    config, notes = _config(f, source)
    print(format_json(config) if f.json else "\n".join([*notes, report(config)]))


def _config(f: Flags, source: str) -> tuple[Any, Sequence[str]]:
    """The network, and lines that describe its training."""
    from larq_groupnet.family import arguments, get_config, list_models
    from larq_groupnet.recipes.announce import training_line
    from larq_groupnet.recipes.choose import choose
    from larq_groupnet.recipes.load import zoo_files
    from larq_groupnet.recipes.overrides import override, parse_options, parse_size
    from larq_groupnet.recipes.recipe import unknown
    from larq_groupnet.recipes.start import NoStartError, with_start
    from larq_groupnet.runs.source import find_source, read_recipe
    from larq_groupnet.runs.start import check_start
    from larq_groupnet.weights.registry import named, names_like

    asked, changes = {*given(f)}, changes_of(f)
    if path_of(source).is_dir():
        if wrong := {"dataset", "recipe", "phase", "int8_epochs", "start_from"} & asked:
            raise RecipeError(
                "summary: expected no flag that it ignores with a run. "
                f"Received: {', '.join(f'--{name}' for name in sorted(wrong))}"
            )
        run = read_recipe(path_of(source))
        if run is None:
            raise RecipeError(
                f"summary: expected a run's folder, with recipe.json. Received: {source}, which "
                f"has none. If it has images, give MODEL --dataset folder:{source}."
            )
        run = override(run, changes)
        return run.model, [training_line(run)]
    is_path = len(Path(source).parts) > 1 and not Path(source).with_suffix(".py").is_file()
    if Path(source).suffix not in ("", ".py") or is_path or named(source):
        if asked - {"input_size", "data_dir", "json"}:
            raise RecipeError("summary: expected only --input_size with trained weights.")
        sizes = f.input_size and parse_size(f.input_size)
        return find_source(source).sized(sizes or None).config, []
    trains = {"dataset", "recipe", "phase", "int8_epochs", "start_from", *AS_CHANGES}
    trains -= {"input_size"}
    if source in list_models() and not trains & {*asked, *dict(changes)}:
        config = get_config(source, **parse_options(changes, arguments(source)))
        return config, [
            f"The model {source} as get_model builds it; --recipe or --dataset counts the network "
            "that train trains."
        ]
    if not Path(source).suffix and source not in (models := zoo_files()):
        raise RecipeError(unknown("model", source, [*sorted(models), *names_like(source)]))
    choice = choose(
        source,
        f.data_dir,
        dataset=f.dataset,
        recipe=f.recipe,
        changes=changes,
        phase=f.phase,
        int8_epochs=f.int8_epochs,
    )
    recipe, notes = choice.recipe, [*choice.notes]
    try:  # As train does.
        recipe = with_start(recipe, None, choice.given)
        check_start(recipe)
    except NoStartError:
        if "start_from" in choice.given:
            raise
        notes.append(
            f"It starts from the {recipe.start_from!r} weights, which are not on this machine; "
            "some options may come from them."
        )
    return recipe.model, [*notes, training_line(recipe)]
