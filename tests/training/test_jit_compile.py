"""XLA compiles a training step of every recipe of zoo/, in small and on the CPU."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from larq_groupnet.network.build import build
from larq_groupnet.recipes.load import load_recipes
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.fit import Session, compile_model

RECIPES = {
    f"{file.stem}-{recipe.dataset}": recipe
    for file in sorted((ROOT / "zoo").glob("[!_]*.py"))
    for recipe in load_recipes(str(file)).recipes
}


def small(recipe):
    """The same network with little in it: one block a stage, one base, a sixteenth of the width."""
    model = recipe.model
    blocks, bases = (1, 1, 1, 1), min(model.num_bases, 1)
    size = (32, 32, model.input_shape[2])
    return model.replace(
        stage_blocks=blocks, num_bases=bases, width=0.0625, num_classes=4, input_shape=size
    )


def essence(name):
    """What decides how a step is compiled, of the last phase that is trained."""
    recipe = RECIPES[name]
    phase = [phase for phase in recipe.phases if phase.epochs][-1]
    fields = dataclasses.asdict(phase) | {"name": "", "epochs": 0, "drops": (), "learning_rate": 0}
    return repr((small(recipe), fields))


# Two recipes whose networks differ only in depth are one in small.
DIFFERENT = {essence(name): name for name in RECIPES}.values()


@pytest.mark.parametrize("name", DIFFERENT)
def test_step_is_compiled(name, tmp_path):
    recipe = RECIPES[name]
    phase = [phase for phase in recipe.phases if phase.epochs][-1]
    model = build(small(recipe).replace(binary=phase.binary))
    task = task_of(model_config := small(recipe))
    session = Session(None, 2, None, tmp_path, task, runtime=Runtime(jit_compile=True))
    compile_model(model, session, phase)
    rng = np.random.RandomState(0)
    images = rng.uniform(-1, 1, (4, *model_config.input_shape)).astype("f4")
    shape = (4, 32, 32) if task.dense else (4,)
    truth = rng.randint(0, 4, shape).astype("i4")
    before = model.get_weights()
    logs = model.fit(images, truth, batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    stem = [number for number, weight in enumerate(model.weights) if "stem" in weight.name][0]
    assert not np.array_equal(model.get_weights()[stem], before[stem])
    assert model.jit_compile and tf.config.get_soft_device_placement() is not None
