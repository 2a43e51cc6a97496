"""The larq-zoo factories of the models in a real zookeeper task; the error without larq-zoo."""

import importlib
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import larq_groupnet
from larq_groupnet import get_model

pytest.importorskip("larq_zoo")

from click.testing import CliRunner
from larq_zoo.training.train import TrainLarqZooModel
from zookeeper import ComponentField, Field, cli, component, configure, task
from zookeeper.tf import Dataset, Preprocessing

from larq_groupnet import factories

FACTORIES = {
    "groupnet_resnet18": factories.GroupNetResNet18Factory,
    "groupnet_resnet34": factories.GroupNetResNet34Factory,
    "groupnet_resnet50": factories.GroupNetResNet50Factory,
    "groupnet_dsp": factories.GroupNetDSPFactory,
    "birealnet18": factories.BiRealNet18Factory,
    "resnet18": factories.ResNet18Factory,
}
FUNCTIONS = {
    **{f"groupnet_resnet{n}": getattr(larq_groupnet, f"GroupNetResNet{n}") for n in (18, 34, 50)},
    "groupnet_dsp": larq_groupnet.GroupNetDSP,
    "birealnet18": larq_groupnet.BiRealNet18,
    "resnet18": larq_groupnet.ResNet18,
}
SMALL = {
    "input_shape": (32, 32, 3),
    "stage_blocks": (1, 1, 1, 1),
    "num_bases": 1,
    "width": 0.0625,
}
# Every option that a classifier uses, except the quantizers, has a value that is not its default.
OTHER = {
    "input_shape": (32, 32, 3),
    "stage_blocks": (1, 1, 1, 1),
    "num_bases": (1, 1, 1, 2),
    "width": 0.0625,
    "gate": "base",
    "aggregation": "mean",
    "first_base_sums": True,
    "shortcut": "block",
    "projection": "real",
    "relu": False,
    "output": "logits",
    "stem_stride": 2,
    "stem_bias": True,
    "output_stride": 4,
    "atrous_rates": (1, 1, 2, "1-3"),
    "padding": "torch",
    "binary": False,
    "batch_norm_epsilon": 1e-3,
    "batch_norm_momentum": 0.5,
}
QUANTIZED = {
    **SMALL,
    "layout": "resnet34",
    "head": "fcn16s",
    "atrous_rates": "equal",
    "dropout": 0.25,
    "stem_pool": "after_norm",  # Needs a stem with a pool.
    "output": "probabilities",
    "output_stride": 16,
    "decomposition": "group",
    "blocks_per_group": 3,
    "input_quantizer": "approx_sign",
    "kernel_quantizer": "magnitude_aware_sign",
}


@component
class Noise(Dataset):
    num_classes = 3

    def train(self, decoders=None):
        images = np.random.RandomState(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": [0, 1, 2, 0]}), 4

    validation = train


@component
class AsItIs(Preprocessing):
    input_shape = Field((32, 32, 3))

    def input(self, data, training):
        return data["image"]

    def output(self, data, training):
        return data["label"]


@task
class TrainSmallGroupNet(TrainLarqZooModel):
    dataset = ComponentField(Noise)
    preprocessing = ComponentField(AsItIs)
    model = ComponentField(factories.GroupNetResNet18Factory)
    epochs = Field(1)
    batch_size = Field(4)
    optimizer = Field("sgd")
    use_tensorboard = Field(False)
    use_model_checkpointing = Field(False)
    output_folder: str = Field()

    @Field
    def output_dir(self) -> Path:
        return Path(self.output_folder)


def model_of(conf):
    """The model of a task with this configuration."""
    instance = TrainSmallGroupNet()
    configure(instance, {"output_folder": "unused", **conf})
    return instance.model


def config_of(build, *args, **options):
    """The model's Keras config, with layer numbering reset."""
    import larq_groupnet.network.quantizers  # noqa: F401 (Creates numbered layers.)

    tf.keras.backend.clear_session()
    return build(*args, **options).get_config()


@pytest.mark.parametrize(
    ("name", "options"), [("groupnet_resnet50", OTHER), ("groupnet_dsp", QUANTIZED)]
)
def test_task_builds_the_model_of_the_same_options(name, options):
    conf = {f"model.{option}": value for option, value in options.items()}
    built = config_of(model_of, {"model": FACTORIES[name](), **conf})
    assert built == config_of(get_model, name, num_classes=Noise.num_classes, **options)


@pytest.mark.parametrize("name", FACTORIES)
def test_every_argument_of_the_model_is_a_field_with_its_default(name):
    model_factory = FACTORIES[name]()
    arguments = inspect.signature(FUNCTIONS[name]).parameters
    assert set(arguments) <= {*model_factory.__component_fields__, "include_top"}
    # The task sets these two.
    for option in set(arguments) - {"input_shape", "num_classes"}:
        assert getattr(model_factory, option) == arguments[option].default


def test_factory_takes_what_the_models_of_larq_zoo_take(tmp_path):
    images = tf.keras.layers.Input((32, 32, 3))
    options = {option: SMALL[option] for option in ("stage_blocks", "num_bases", "width")}
    model_factory = factories.GroupNetResNet18Factory
    model = model_factory(
        num_classes=3, include_top=False, input_tensor=images * 2.0, **options
    ).build()
    assert model.input is images
    assert model.layers[-1].name == "stage4_block1_aggregate"
    model.save_weights(tmp_path / "weights.h5")
    again = model_factory(
        num_classes=3, include_top=False, weights=tmp_path / "weights.h5", **SMALL
    ).build()
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_value_of_another_type_is_refused():
    with pytest.raises(TypeError, match="width.*float.*'wide'"):
        model_of({"model.width": "wide"})
    with pytest.raises(ValueError, match="'layout' does not correspond to any field"):
        model_of({"model.layout": "resnet34"})


@pytest.mark.usefixtures("eager")
# TrainLarqZooModel saves in the HDF5 format.
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_task_trains_from_its_command_line(tmp_path):
    conf = {f"model.{option}": value for option, value in SMALL.items()}
    conf |= {"output_folder": tmp_path, "model.num_bases": 2}
    arguments = [f"{key}={value}" for key, value in conf.items()]
    result = CliRunner().invoke(cli, ["train_small_group_net", *arguments])
    assert result.exit_code == 0, result.output
    assert "num_bases=2" in result.output
    model = tf.keras.models.load_model(tmp_path / "groupnet_resnet18.h5")
    assert model.get_layer("stage1_block1_base2_conv1").filters == 4
    assert np.isfinite(model(np.zeros((1, 32, 32, 3)))).all()


class NoLarqZoo:
    """An import finder that hides larq-zoo."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "larq_zoo":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_larq_zoo_one_sentence_says_what_to_do(monkeypatch):
    import larq_groupnet.data.imagenet as imagenet

    monkeypatch.setattr(larq_groupnet.data, "imagenet", imagenet)  # The import replaces it.
    ours = ("larq_groupnet.factories", "larq_groupnet.data.imagenet")
    for name in [*sys.modules]:
        if name.startswith(("larq_zoo", *ours)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoLarqZoo(), *sys.meta_path])
    assert importlib.import_module("larq_groupnet.data.imagenet") is not imagenet
    with pytest.raises(ImportError) as error:
        importlib.import_module("larq_groupnet.factories")
    assert error.value.__cause__ is None and error.value.__suppress_context__
    assert str(error.value) == (
        "larq_groupnet.factories needs larq-zoo and its dependencies (No module named "
        "'larq_zoo'): run `pip install --no-deps -r requirements-zoo.txt`."
    )
