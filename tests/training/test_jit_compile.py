"""XLA compiles a training step of every recipe of zoo/, in small and on the CPU.

Six to eleven CPU seconds each: those of CI have each kind of stem, shortcut and head; the others
run with LARQ_GROUPNET_LONG.
"""

import dataclasses
import os

import numpy as np
import pytest
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
    """The same network with little in it: few blocks, one base, a sixteenth of the width."""
    model = recipe.model
    size = {"width": 0.0625, "num_classes": 4, "input_shape": (32, 32, model.input_shape[2])}
    if model.layout == "resnet50":  # Of bottlenecks there are four stages.
        return model.replace(stage_blocks=(1, 1, 1, 1), num_bases=1, **size)
    dilated = model.atrous_rates is not None
    return model.replace(
        layout="two_stages",
        stage_blocks=None,
        num_bases=1,
        output_stride=model.stem_stride * (1 if dilated else 2),
        atrous_rates=(1, 2) if dilated else None,
        first_rates=(1, 2) if model.first_rates else None,
        **size,
    )


def essence(name):
    """What decides how a step is compiled, of the last phase that is trained."""
    recipe = RECIPES[name]
    phase = [phase for phase in recipe.phases if phase.epochs][-1]
    fields = dataclasses.asdict(phase) | {"name": "", "epochs": 0, "drops": (), "learning_rate": 0}
    return repr((small(recipe), fields))


# Two recipes whose networks differ only in depth are one in small; the first one stands for both.
DIFFERENT = {essence(name): name for name in reversed(RECIPES)}.values()


IN_CI = ("birealnet18-imagenet2012", "groupnet_dsp-voc2012_aug")


@pytest.mark.parametrize(
    "name", [name for name in DIFFERENT if name in IN_CI or "LARQ_GROUPNET_LONG" in os.environ]
)
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
    assert model.jit_compile
