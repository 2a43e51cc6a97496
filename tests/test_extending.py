"""Extensions from outside the package: the files of `tests/extending/` in docs/extending.md.

Each file is short, complete, and changes no file of the package.
"""

import runpy

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from reference import random_images

from larq_groupnet import ConfigError, GroupNetConfig, complexity, get_config, get_model
from larq_groupnet.deploy import convert
from larq_groupnet.deploy.audit import audit
from larq_groupnet.family import MODELS, list_models
from larq_groupnet.network.heads import scores_of_pixels
from larq_groupnet.network.kinds import DECOMPOSITIONS, HEADS, LAYOUTS, head

FOLDER = ROOT / "tests" / "extending"
MOST_LINES = 40
TINY = {"width": 0.0625, "layout": "two_stages", "num_bases": 2}
REGISTRIES = [DECOMPOSITIONS, HEADS, LAYOUTS, MODELS]


@pytest.fixture
def extension(request):
    """Runs files of `tests/extending/`, and removes what they register afterwards."""
    before = [set(registry) for registry in REGISTRIES]
    yield {k: v for n in request.param for k, v in runpy.run_path(str(FOLDER / f"{n}.py")).items()}
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - names:
            registry.remove(name)


def adds(*names):
    return pytest.mark.parametrize("extension", [names], indirect=True, ids=["-".join(names)])


def check_network(model, config, tmp_path):
    """Checks counts against Larq's, trains two steps, converts with a clean audit."""
    counted, profile = complexity(config), lq.models.ModelProfile(model)
    assert counted == complexity(model)
    total = counted.total
    assert total.params == {b: profile.weight_count(b) for b in profile.unique_param_bidtwidths}
    assert total.macs == {b: profile.op_count("mac", b) for b in profile.unique_op_precisions}
    images = random_images(4, *config.input_shape).astype("float32")
    targets = np.zeros((4, *model.output_shape[1:]), "float32")
    model.compile(tf.keras.optimizers.Adam(1e-3), "mse")
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(images, targets, batch_size=2, epochs=1, verbose=0)
    pairs = zip(model.trainable_weights, before, strict=True)
    assert [weight.name for weight, old in pairs if np.array_equal(weight.numpy(), old)] == []
    file = convert(model, tmp_path / "model.tflite", data=images)
    assert audit(model, file) == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_extension_is_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


# A head.


@adds("head")
@pytest.mark.usefixtures("eager")
def test_head(extension, tmp_path):
    options = {**TINY, "input_shape": (32, 32, 3), "num_classes": 3, "output_stride": 8}
    config = get_config("groupnet_dsp", head="fcn4s", **options)
    model = get_model("groupnet_dsp", head="fcn4s", **options)
    assert model.output_shape == (None, 32, 32, 3)
    assert model.output_names == ["logits"]
    check_network(model, config, tmp_path)
    odd = {**options, "input_shape": (33, 42, 3)}
    assert get_model("groupnet_dsp", head="fcn4s", **odd).output_shape == (None, 33, 42, 3)
    with pytest.raises(ConfigError, match="Did you mean 'fcn4s'"):
        get_config("groupnet_dsp", head="fcn4")


def test_head_that_adds_maps_of_two_sizes_is_not_counted():
    """Keras would not build it either."""

    @head("uneven", task="segmentation")
    def uneven(ops, stages):
        scores = [ops.conv(stages[k], 3, 1, f"head_{k}", bias=True) for k in (2, 3)]
        return scores_of_pixels(ops, ops.add(scores, "head_sum"))

    try:
        with pytest.raises(ConfigError, match="head_sum: expected maps of one size. Received: 2 x"):
            complexity(GroupNetConfig(head="uneven", input_shape=(32, 32, 3)))
    finally:
        HEADS.remove("uneven")


# A layout, a model of it, and a decomposition.


@adds("layout", "decomposition")
@pytest.mark.usefixtures("eager")
def test_layout_model_and_decomposition(extension, tmp_path):
    assert "groupnet_resnet20" in list_models()
    options = {"width": 0.25, "stage_blocks": (1, 2, 1), "num_bases": (1, 2, 2)}
    config = get_config("groupnet_resnet20", decomposition="ring", **options)
    assert (config.stage_channels, config.stage_strides) == ((4, 8, 16), (1, 2, 2))
    model = extension["GroupNetResNet20"](decomposition="ring", **options)
    assert model.output_shape == (None, 10)
    assert list(complexity(config).stages) == ["stem", "stage1", "stage2", "stage3", "head"]
    check_network(model, config, tmp_path)
    with pytest.raises(TypeError, match="GroupNetResNet20: unexpected keyword argument 'layout'"):
        extension["GroupNetResNet20"](layout="resnet18")
    with pytest.raises(ConfigError, match="Did you mean 'ring'"):
        GroupNetConfig(decomposition="rinq")
    with pytest.raises(ConfigError, match="gate: expected 'block' with decomposition='ring'"):
        config.replace(gate="base")
