"""One training of a search: a recipe to the best validation metric of its last phase."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf

from larq_groupnet.data.pipeline import prepare
from larq_groupnet.files import write_json
from larq_groupnet.network.build import build
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.distillation import load_teacher
from larq_groupnet.training.distribution import Runtime, check_batch, open_strategy
from larq_groupnet.training.fit import Session, compile_model
from larq_groupnet.training.run import session_of, train_with_precision
from larq_groupnet.tuning.space import PARENTS, SearchSpace


class Trainer:
    """Trains recipes on one dataset, each in a folder of its own, and goes on after a kill.

    Args:
        recipe: One of those recipes, for its dataset.
        data_dir: Where datasets are kept.
        runtime: On what, and how precisely, to compute.

    Raises:
        RecipeError: If there is no such device, or the batch cannot be shared out.
    """

    def __init__(self, recipe: Recipe, data_dir: Path, runtime: Runtime | None = None) -> None:
        self.runtime = runtime or Runtime()
        self.strategy = open_strategy(self.runtime.strategy)
        check_batch(recipe.batch_size, self.strategy)
        self.builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)

    def session(self, recipe: Recipe, folder: Path) -> Session:
        """What the phases of a recipe share."""
        with self.strategy.scope():
            teacher = load_teacher(recipe) if recipe.teacher else None
        return session_of(
            recipe, self.builder, folder, self.strategy, self.runtime.jit_compile, teacher
        )

    def measure(self, recipe: Recipe, folder: Path) -> float:
        """Trains, unless the folder says that it is done.

        Args:
            recipe: What to train.
            folder: Takes what a run leaves before conversion, and `measured.json`.

        Returns:
            The best validation metric of the last phase.

        Raises:
            TrainingError: If training diverges.
            Interrupted: After SIGINT or SIGTERM.
        """
        done = folder / "measured.json"
        if done.is_file():
            return json.loads(done.read_text())["value"]
        # What an earlier trial has left in memory goes, and nothing depends on the order of trials.
        tf.keras.backend.clear_session()
        gc.collect()
        tf.keras.utils.set_random_seed(recipe.seed)
        session = self.session(recipe, folder)
        write_json(folder / "recipe.json", recipe.to_dict())
        weights = train_with_precision(recipe, session, None, self.runtime.precision)
        with (folder / "history.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["phase"] == weights.stem]
        value = max(float(row[f"val_{session.task.headline}"]) for row in rows)
        write_json(done, {"value": value, "metric": session.task.headline})
        shutil.rmtree(folder / "snapshots", ignore_errors=True)
        return value


class GroupNetHyperModel(keras_tuner.HyperModel):
    """The networks of a search space, for any tuner of keras-tuner.

    Args:
        space: What is searched.
        trainer: Trains a candidate.
    """

    def __init__(self, space: SearchSpace, trainer: Trainer):
        super().__init__(name=space.recipe.name)
        self.space = space
        self.trainer = trainer

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Every dimension of the space, as a choice among texts."""
        declare(self.space, hp)

    def build(self, hp: keras_tuner.HyperParameters) -> tf.keras.Model:
        """The network of the last phase, compiled as that phase trains it."""
        recipe = self.recipe(hp)
        phase = next(phase for phase in reversed(recipe.phases) if phase.epochs)
        session = self.trainer.session(recipe, Path())
        with session.strategy.scope():
            model = build(recipe.model.replace(binary=phase.binary), name=recipe.name)
        compile_model(model, session, phase)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: tf.keras.Model | None,
        *args: Any,
        folder: Path | None = None,
        **kwargs: Any,
    ) -> dict[str, float]:
        """Trains all phases of a candidate in the epochs of a trial.

        Args:
            hp: The candidate.
            model: Gets the best weights, if there is one; every phase builds its own network.
            *args: Not used: the recipe says what to train on.
            folder: Where to train, and to go on from; a temporary one by default.
            **kwargs: Not used.

        Returns:
            The best validation metric of the last phase, by name.
        """
        recipe = self.recipe(hp)
        with tempfile.TemporaryDirectory() as scratch:
            where = folder or Path(scratch)
            value = self.trainer.measure(recipe, where)
            last = [phase.name for phase in recipe.phases if phase.epochs][-1]
            if model is not None:
                model.load_weights(where / f"{last}.h5")
        return {f"val_{task_of(recipe.model).headline}": value}

    def recipe(self, hp: keras_tuner.HyperParameters) -> Recipe:
        """What a trial trains; Hyperband says in how many epochs."""
        candidate = self.space.candidate(hp.values)
        return self.space.trial(candidate, hp.values.get("tuner/epochs"))


def declare(space: SearchSpace, hp: keras_tuner.HyperParameters) -> None:
    """Declares a space.

    All choices are texts: keras-tuner sends numbers to its workers in 32 bits, after which they
    are no choice any more.
    """
    for key, texts in space.choices.items():
        parent, value = PARENTS.get(key, ("", ""))
        if parent in space.choices:
            hp.Choice(key, list(texts), parent_name=parent, parent_values=[value])
        else:
            hp.Choice(key, list(texts))
