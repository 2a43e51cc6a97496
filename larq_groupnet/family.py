"""The named models: their arguments, their configurations, and building them with weights.

`@model` registers a function as a model, with the options in which it differs from
`GroupNetConfig`. A given option is obeyed or refused. It counts as given because it was passed,
whatever its value.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import UnknownOptionError
from larq_groupnet.hints import did_you_mean
from larq_groupnet.network.config import OPTIONS, RENAMED, GroupNetConfig, unused_options
from larq_groupnet.network.options import check_choice, fail
from larq_groupnet.registries import Registry
from larq_groupnet.values import native

if TYPE_CHECKING:
    import tensorflow as tf

SMALL_IMAGE = 64
"""Below this height or width a classifier's stem is a 3x3 stride-1 convolution without pooling."""

_OF_THE_CALL = {"input_tensor": None, "weights": None, "include_top": True}
BY_SIZE = ("stem_stride", "output_stride")
"""Options that depend on the image size if they are `None`."""

_Function = Callable[..., "tf.keras.Model"]


@dataclasses.dataclass(frozen=True)
class Model:
    """A named model.

    Attributes:
        function: The public function that builds it.
        arguments: Argument -> its default.
        fixed: Option that is not an argument -> its value.
    """

    function: _Function
    arguments: Mapping[str, Any]
    fixed: Mapping[str, Any]


MODELS: Registry[Model] = Registry("model")


def model(
    name: str, *, fixed: Mapping[str, Any], **defaults: Any
) -> Callable[[_Function], _Function]:
    """Registers a function as the model `name`.

    Args:
        name: Name for `get_model`.
        fixed: Options of `GroupNetConfig` that this model does not take as arguments.
        **defaults: Options whose default differs from `GroupNetConfig`. If `stem_stride` or
            `output_stride` is `None`, it depends on the image size.

    Returns:
        The decorator of a function that takes keyword arguments and returns
        `build_model(name, options)`. The function gets a signature with every argument and its
        default.
    """
    MODELS.check_name(name)
    if not isinstance(fixed, Mapping):
        fail("fixed", f"options of GroupNetConfig and their values under {name!r}", fixed)
    for option in (*fixed, *defaults):
        if option not in OPTIONS:
            raise UnknownOptionError(
                f"model: expected options of GroupNetConfig under {name!r}. "
                f"Received: {option}.{did_you_mean(option, OPTIONS)}"
            )
        if option in fixed and option in defaults:
            fail(option, f"one value under {name!r}, fixed or a default", defaults[option])
    of_config = {name: getattr(GroupNetConfig, name) for name in OPTIONS}
    arguments = _OF_THE_CALL | of_config | defaults
    arguments = {option: value for option, value in arguments.items() if option not in fixed}

    def register(function: _Function) -> _Function:
        MODELS.check_function(name, function)

        @functools.wraps(function)
        def checked(**given: Any) -> tf.keras.Model:
            return function(**_known(function.__name__, given, arguments))

        parameters = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=value)
            for option, value in arguments.items()
        ]
        checked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        MODELS.add(name, Model(checked, arguments, fixed), function)
        return checked

    return register


@model("groupnet_resnet18", fixed={"layout": "resnet18"}, stem_stride=None, output_stride=None)
def GroupNetResNet18(**options: Any) -> tf.keras.Model:  # noqa: D417 (GroupNetConfig explains the others)
    """Group-Net with the layout of ResNet-18 (Zhuang et al., CVPR 2019).

    All arguments are keywords. Arguments not listed here are fields of `GroupNetConfig`, which
    explains them, with the same defaults.

    Args:
        input_shape: `(height, width, channels)`, `None` for (224, 224, 3). Images smaller than
            64 pixels get a 3x3 stride-1 stem without pooling and output stride 8, as is usual for
            CIFAR; larger ones get the ImageNet stem and output stride 32.
        input_tensor: Keras tensor to read from; its shape becomes the input shape.
        weights: Name of a registered set (`larq_groupnet.list_weights()`), such as `"imagenet"`
            or `"groupnet_resnet18:imagenet"`; `str` or `Path` of a `.safetensors`, `.h5` or
            `.keras` file of the same network; or `None` for random weights. The network takes the
            options of the weights, if they are known, except those given here. A given option that
            needs other weights is refused, except for the head, whose weights are then left out
            with a warning.
        include_top: Add the head: average pooling, dense layer and softmax. `False` gives the last
            aggregate.
        num_classes: Length of the output, with `include_top`.
        output: `"probabilities"` or `"logits"`; `None` for the default of the head.
        num_bases: K, the number of binary branches, or a tuple with one number per stage.
        head: `"classifier"`, or another head of `GroupNetConfig`.
        stem_stride: `None` to choose it by the image size, as above.
        output_stride: The same.

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to probabilities
        `(batch, num_classes) float32`, or to the last aggregate
        `(batch, height / output_stride, width / output_stride, channels)`, rounded up. The layer
        `logits` gives the scores before the softmax.

    Raises:
        ConfigError: If the options do not describe a valid network.
        TypeError: If an argument is unknown.
        FileNotFoundError: If `weights` is a path that does not exist.
        MismatchError: If the weights belong to another network. Lists the differences.
    """
    return build_model("groupnet_resnet18", options)


@model("groupnet_resnet34", fixed={"layout": "resnet34"}, stem_stride=None, output_stride=None)
def GroupNetResNet34(**options: Any) -> tf.keras.Model:
    """Group-Net with the layout of ResNet-34. Takes the same arguments as `GroupNetResNet18`."""
    return build_model("groupnet_resnet34", options)


@model("groupnet_resnet50", fixed={"layout": "resnet50"}, stem_stride=None, output_stride=None)
def GroupNetResNet50(**options: Any) -> tf.keras.Model:
    """Group-Net with the bottleneck layout of ResNet-50.

    Takes the same arguments as `GroupNetResNet18`. The 3x3 convolution of a stage's first
    block has the stride. The authors published results for this network, but no code.
    """
    return build_model("groupnet_resnet50", options)


@model(
    "groupnet_dsp",
    fixed={},
    num_classes=21,
    head="fcn32s",
    output_stride=8,
    atrous_rates="bpac",
    input_shape=(512, 512, 3),
)
def GroupNetDSP(**options: Any) -> tf.keras.Model:  # noqa: D417 (GroupNetResNet18 explains the others)
    """Group-Net with a dilated backbone and a head that scores each pixel.

    Source: Zhuang et al., CVPR 2019, section on semantic segmentation. "DSP" is this project's
    name for it. All other arguments are the same as for `GroupNetResNet18`.

    Args:
        input_shape: `(height, width, channels)`; height and width may be `None` for any size.
        weights: `None`; the name of a registered set such as `"imagenet"`; or the path of a
            weights file (`.h5`, `.keras`, `.safetensors`). Weights of a classification model with
            the same layout are loaded by name, whatever the dilation rates and output stride here.
            Its head is left out, and a warning lists the weights of the head.
        num_classes: Classes including background.
        layout: The backbone: `"resnet18"`, `"resnet34"` or `"resnet50"`.
        head: `"fcn32s"`, `"fcn16s"` or `"deeplabv3"` (`larq_groupnet.network.heads`).
        atrous_rates: `"bpac"` gives each base its own dilation rate (binary parallel atrous
            convolution); `"equal"` gives all bases of a stage the same rate; `"released"` and
            `"released_bpac"` are the rates of the authors' code; `None` is no dilation. A tuple has
            one entry per stage: an int, a tuple with one int per base, or an interval such as
            `"2-6"` to spread the bases over. Names apply to the stages that keep stride 1: at
            output stride 8 the third (2 to 6, or 4) and the fourth (6 to 10, or 8); at 16 only the
            fourth (2 to 6, or 4); at 32 none.
        output_stride: 8, 16 or 32: image size divided by the size of the last feature map.
        stem_stride: 4; 2 or 1 for a stem that keeps more resolution (the output stride may then be
            smaller, too).

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to logits
        `(batch, height, width, num_classes) float32`, or to probabilities with
        `output="probabilities"`.

    Raises:
        ConfigError: If the options do not describe a valid network.
        TypeError: If an argument is unknown.
        FileNotFoundError: If `weights` is a path that does not exist.
        MismatchError: If the weights belong to another backbone. Lists the differences.
    """
    return build_model("groupnet_dsp", options)


@model(
    "birealnet18",
    fixed={"layout": "resnet18"},
    num_bases=1,
    decomposition="group",
    aggregation="mean",
    projection="real",
    relu=False,
    padding="zero",
    stem_stride=None,
    stem_pool="after_norm",
    output_stride=None,
    input_quantizer="approx_sign",
    kernel_quantizer="magnitude_aware_sign",
)
def BiRealNet18(**options: Any) -> tf.keras.Model:
    """Bi-Real Net with the layout of ResNet-18 (Liu et al., ECCV 2018).

    One binary branch, a shortcut around every convolution, and no ReLU. Where stride or width
    changes, the shortcut is an average pool and a real 1x1 convolution. Takes the same arguments as
    `GroupNetResNet18`.
    """
    return build_model("birealnet18", options)


@model(
    "resnet18",
    fixed={
        "layout": "resnet18",
        "decomposition": "none",
        "num_bases": 1,
        "binary": False,
        "input_quantizer": GroupNetConfig.input_quantizer,
        "kernel_quantizer": GroupNetConfig.kernel_quantizer,
        "padding": "same",
        **{name: getattr(GroupNetConfig, name) for name in unused_options("none", "fcn32s")},
    },
    stem_stride=None,
    output_stride=None,
)
def ResNet18(**options: Any) -> tf.keras.Model:
    """The real-valued ResNet-18 that Group-Net approximates (He et al., CVPR 2016).

    Takes the same arguments as `GroupNetResNet18`, except those for bases and binary layers.
    """
    return build_model("resnet18", options)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, such as `"*resnet*"`."""
    return fnmatch.filter(MODELS, pattern)


def get_model(name: str, **options: Any) -> tf.keras.Model:
    """Builds a model by name.

    Args:
        name: One of `list_models()`.
        **options: Arguments of the model, such as `input_shape` or `num_bases`.

    Returns:
        A `tf.keras.Model`.

    Raises:
        UserError: If the name is unknown. Suggests the nearest.
    """
    return MODELS.find(name).function(**options)


def arguments(name: str) -> list[str]:
    """The arguments that `get_model(name)` and `get_config(name)` take."""
    return list(MODELS.find(name).arguments)


def get_config(name: str, **given: Any) -> GroupNetConfig:
    """The configuration of `get_model(name, **given)`. Builds nothing, needs no TensorFlow.

    With `weights`, options that are not given come from the weights, if they are known.

    Raises:
        UserError: If the name of the model or of the weights is unknown.
        UnknownOptionError: If the model does not have an argument.
        ConfigError: If the options do not describe a valid network.
    """
    found = MODELS.find(name)
    options = _known(name, given, found.arguments)
    weights = options.get("weights")
    options = _given_options(options, found)
    defaults = {k: v for k, v in found.arguments.items() if k in OPTIONS}
    config = _config({**defaults, **found.fixed, **options})
    if weights is not None:
        from larq_groupnet.weights import resolve

        config = resolve.adopt(weights, name, config, given=set(options))
    pool = defaults.get("stem_pool")
    if config.stem_stride != 4 and options.get("stem_pool", pool) != pool:
        expected = f"{pool!r} with stem_stride={config.stem_stride}, whose stem has no pool"
        fail("stem_pool", expected, config.stem_pool)
    return config


def build(
    config: GroupNetConfig,
    *,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    name: str = "groupnet",
) -> tf.keras.Model:
    """Builds the network that `config` describes.

    Args:
        config: The network.
        input_tensor: Keras tensor `(batch, height, width, channels)` to read from instead of a new
            input.
        weights: Name of a registered set, or path of a weights file of the same network; `None` for
            random weights.
        name: Name of the model.

    Returns:
        A functional `tf.keras.Model`, see `larq_groupnet.network.build.build`.

    Raises:
        FileNotFoundError: If `weights` is a path that does not exist.
        MismatchError: If the weights belong to another network.
    """
    from larq_groupnet.network.build import build as build_network

    if not isinstance(config, GroupNetConfig):
        fail("config", "a GroupNetConfig, such as get_config('groupnet_resnet18')", config)
    if weights is None:
        return build_network(config, input_tensor=input_tensor, name=name)
    from larq_groupnet.weights import resolve

    # Errors come before the network is built, which takes seconds.
    path = resolve.resolve(weights, name, config)
    built = build_network(config, input_tensor=input_tensor, name=name)
    resolve.load_into(built, config, path)
    return built


def build_model(name: str, given: Mapping[str, Any]) -> tf.keras.Model:
    """Builds a model by name, and loads weights if given.

    Args:
        name: Name of the model.
        given: Arguments of the model's function.
    """
    config = get_config(name, **given)
    tensor, weights = given.get("input_tensor"), given.get("weights")
    return build(config, input_tensor=tensor, weights=weights, name=name)


def _known(caller: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The given arguments by their current names.

    Raises:
        UnknownOptionError: If an argument is unknown. Suggests the nearest.
    """
    known = {}
    for name, value in given.items():
        today = RENAMED.get(name, name)
        if today not in arguments:
            raise UnknownOptionError(
                f"{caller}: unexpected keyword argument {name!r}."
                f"{did_you_mean(name, arguments)} Arguments: {', '.join(arguments)}"
            )
        if today != name:
            if today in given:
                fail(name, f"{today} alone: {name} is its old name", value)
            warnings.warn(
                f"{caller}: {name} is now called {today}.", DeprecationWarning, stacklevel=3
            )
        known[today] = value
    return known


def _given_options(given: Mapping[str, Any], found: Model) -> dict[str, Any]:
    """The options of `GroupNetConfig` that a call gives."""
    chosen = ("input_shape", *BY_SIZE)  # None leaves these to the model.
    options = {
        name: native(value)
        for name, value in given.items()
        if name in OPTIONS and not (name in chosen and value is None)
    }
    if (tensor := given.get("input_tensor")) is not None:
        from larq_groupnet.network.build import check_input_tensor

        check_input_tensor(tensor)
        shape = tuple(tensor.shape[1:])
        if options.get("input_shape", shape) != shape:
            fail("input_shape", f"input_tensor's shape {shape} or None", given["input_shape"])
        options["input_shape"] = shape
    if options.get("head", "") is None:
        fail("head", "the name of a head (include_top=False builds no head)", None)
    if "include_top" in given:
        top = native(given["include_top"])
        check_choice("include_top", top, (True, False))
        if not top and "head" in options:
            fail("head", "to be left out with include_top=False", options["head"])
        default = found.arguments["head"]
        options["head"] = options.get("head", default) if top else None
    return options


def _config(options: Mapping[str, Any]) -> GroupNetConfig:
    options = dict(options)
    shape = options["input_shape"]
    if shape is None:
        shape = options["input_shape"] = GroupNetConfig.input_shape
    small = isinstance(shape, tuple | list) and any(
        isinstance(size, int) and size < SMALL_IMAGE for size in shape[:2]
    )
    for name, strides in zip(BY_SIZE, ((4, 1), (32, 8)), strict=True):
        if options[name] is None:
            options[name] = strides[small]
    return GroupNetConfig().replace(**options)
