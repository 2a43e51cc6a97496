"""A recipe: a network, its data and its training phases, as one frozen value.

It does not import TensorFlow, so wrong options are reported at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from larq_groupnet.data.augment import choices
from larq_groupnet.data.reading import Reading, normalisations
from larq_groupnet.errors import RecipeError
from larq_groupnet.hints import check_fields, did_you_mean
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.tasks.task import kind_of
from larq_groupnet.values import is_number, is_positive, is_whole, native

Spec = str | Mapping[str, Any]
"""A name, or `{"class_name": NAME, "config": {...}}` as Keras serialises it."""

SPECS = ("optimizer", "schedule", "loss")
"""Fields of a phase that are a `Spec`."""

ROOT_MEDIAN_FREQUENCY = "root_median_frequency"
CLASS_WEIGHTS = {"median_frequency": 1.0, ROOT_MEDIAN_FREQUENCY: 0.5}
"""Value of `Recipe.class_weights` -> exponent of median frequency balancing."""

_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "bool | str": (
        lambda value: isinstance(value, bool) or value == "activations",
        "True, False or 'activations'",
    ),
    "int": (is_whole, "an integer"),
    "float": (lambda value: type(value) in (int, float), "a number"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "tuple": (lambda value: isinstance(value, tuple), "a tuple or a list"),
}
"""Type of a field -> a check of a value, and its description in messages."""

_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("epochs", "warmup_epochs", "weight_decay", "clip_norm", "attention", "mixup", "cutmix"),
        (lambda value: is_number(value, 0), "at least 0"),
    ),
    **dict.fromkeys(
        ("learning_rate", "head_factor", "temperature"), (is_positive, "a finite number above 0")
    ),
    **dict.fromkeys(("label_smoothing", "average"), (lambda x: 0 <= x < 1, "a number in [0, 1)")),
    **dict.fromkeys(
        ("soft_targets", "colour_jitter"), (lambda value: 0 <= value <= 1, "a number in [0, 1]")
    ),
    "central_crop": (lambda value: 0 < value <= 1, "a share in (0, 1]"),
    "batch_size": (lambda value: 1 <= value < 2**32, "at least 1 and below 2**32"),
    **dict.fromkeys(
        ("steps_per_epoch", "seed", "base_size"),
        (lambda value: 0 <= value < 2**32, "at least 0 and below 2**32"),
    ),
}
"""Name of a field -> a check that a number is in range, and its description in messages."""

OPTIMIZERS = ("adam", "adamw", "sgd", "bop")
SCHEDULES = ("cosine", "poly", "steps", "constant")


@dataclasses.dataclass(frozen=True)
class Phase:
    """One call of `fit`.

    Attributes:
        name: Prefix of the phase's options and name of its weights file.
        epochs: Number of epochs of `Recipe.steps_per_epoch` steps; 0 leaves the phase out.
        learning_rate: Peak learning rate.
        binary: Train the binary network (`True`), its twin with real kernels and tanh (`False`), or
            a network with binary activations and real kernels (`"activations"`).
        int8: Train the binary network with everything else as 8-bit integers, see
            `larq_groupnet.deploy.quantize`. Only for the last phase.
        optimizer: One of `OPTIMIZERS`, or any Keras optimizer as Keras serialises it: a class name
            such as `"RMSprop"`, or `{"class_name": "Adam", "config": {"beta_2": 0.98}}`. `"bop"` is
            Larq's Bop for the binary kernels and Adam for the rest.
        schedule: One of `SCHEDULES`: `"cosine"` falls to 2 %, `"poly"` to 0 with power 0.9,
            `"steps"` to a tenth at each of `drops`. Or any Keras schedule, as for `optimizer`.
        warmup_epochs: Epochs in which the learning rate rises linearly from 2 %; at most half of
            all epochs.
        drops: Points at which `"steps"` drops, as shares of the epochs: `(0.5, 0.75)`. Integers are
            epochs and become shares, so they move if `epochs` changes.
        weight_decay: Decoupled, per step and times the learning rate. Binary kernels, batch
            normalisation, biases, gates and scales are left alone.
        coupled_decay: True to add `weight_decay` to the gradient, like PyTorch's SGD and Adam.
        decay_all: True for a coupled decay of every weight, as in the authors' segmentation code,
            including normalisation, biases, gates, scales and latent binary kernels (whose gradient
            is first divided by their mean magnitude, the scale of the authors' kernels).
        loss: A registered loss (`larq_groupnet.tasks.losses`), or with options
            `{"class_name": "focal", "config": {"gamma": 1.0}}`; `""` for the task's loss.
        label_smoothing: Share of the target spread evenly over the classes.
        clip_norm: Largest global norm of the gradients; 0 does not clip.
        average: Decay of a moving average of the weights, which is validated and saved; 0 for none.
        head_factor: Learning rate of the head divided by the learning rate of the other layers.
        weights_from: Earlier phase whose best weights it starts from; `""` for the previous phase.
        soft_targets: Share of the loss with the teacher's probabilities as targets instead of the
            labels; see `larq_groupnet.training.distillation`.
        temperature: Divisor of both networks' logits for the soft targets.
        attention: Weight of the loss on the teacher's attention maps.
        attention_blocks: Blocks for the attention loss: `"stage2_block2"` for a block with the same
            name in both networks, or `"stage2_block2=NAME"` for one called NAME in the teacher.
    """

    name: str
    epochs: int
    learning_rate: float
    binary: bool | str
    optimizer: Spec = "adam"
    schedule: Spec = "cosine"
    warmup_epochs: float = 1.0
    drops: tuple[float, ...] = ()
    weight_decay: float = 0.0
    coupled_decay: bool = False
    decay_all: bool = False
    loss: Spec = ""
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    average: float = 0.0
    head_factor: float = 1.0
    weights_from: str = ""
    soft_targets: float = 0.0
    temperature: float = 4.0
    attention: float = 0.0
    attention_blocks: tuple[str, ...] = ()
    int8: bool = False

    def __post_init__(self) -> None:
        _check_types(self, f"{self.name}.")
        epochs = self.epochs or 1  # A phase without epochs keeps its drops as they are.
        drops = tuple(d / epochs if type(d) is int else d for d in self.drops)
        object.__setattr__(self, "drops", drops)
        in_range = all(map(is_positive, drops)) and (max(drops, default=0) < 1 or not self.epochs)
        blocks = all(isinstance(name, str) and name for name in self.attention_blocks)
        wanted = {
            "drops": (
                in_range and list(drops) == sorted(set(drops)),
                f"rising shares between 0 and 1, or epochs from 1 to {max(self.epochs - 1, 1)}",
            ),
            "decay_all": (
                not self.decay_all or (self.coupled_decay and self.weight_decay > 0),
                "coupled_decay and a weight_decay above 0 with it",
            ),
            "attention_blocks": (
                blocks and bool(self.attention_blocks) == (self.attention > 0),
                "names of blocks with attention above 0, and none without",
            ),
        }
        check_fields(self, wanted, RecipeError, f"{self.name}.")
        for field, names in {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": ()}.items():
            _check_spec(f"{self.name}.{field}", getattr(self, field), names)
        if self.optimizer == "bop" and (self.weight_decay or self.average or self.head_factor != 1):
            raise RecipeError(
                f"{self.name}.optimizer: expected no weight_decay, no average and no head_factor "
                "with 'bop', whose Keras base class has none of them. Received: weight_decay="
                f"{self.weight_decay}, average={self.average}, head_factor={self.head_factor}"
            )
        alone = not self.distils and self.head_factor == 1
        if self.int8 and not (self.binary is True and alone):
            raise RecipeError(
                f"{self.name}.int8: expected the binary network, no teacher and no head_factor. "
                f"Received: binary={self.binary!r}, soft_targets={self.soft_targets}, "
                f"attention={self.attention}, head_factor={self.head_factor}"
            )
        if (self.schedule == "steps") != bool(self.drops):
            raise RecipeError(
                f"{self.name}.drops: expected epochs with schedule='steps', and none with another. "
                f"Received: schedule={self.schedule!r}, drops={self.drops}"
            )

    @property
    def distils(self) -> bool:
        """True if the phase learns from a teacher."""
        return self.soft_targets > 0 or self.attention > 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Phase:
        """The inverse of `dataclasses.asdict`, also for older versions.

        There, drops were epochs and could be after the last one, without effect.
        """
        values, epochs = dict(values), values["epochs"]
        if epochs and any(type(drop) is int for drop in values.get("drops", ())):
            values["drops"] = [drop for drop in values["drops"] if drop < epochs]
            if not values["drops"]:
                values["schedule"] = "constant"
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: File name in `zoo/`, without the suffix.
        model: The network.
        phases: Training phases, in order.
        dataset: The name of a TFDS dataset, or `folder:PATH`.
        batch_size: Images per step.
        steps_per_epoch: Steps between two validations; 0 for one pass over the training set.
        seed: Seed for initial weights, data order and augmentation.
        augmentation: One of `AUGMENTATIONS`; see `larq_groupnet.data.augment`.
        colour_jitter: Largest change of contrast (as a factor) and brightness per colour channel,
            with `augmentation="colour"` or `"photo"`.
        normalisation: One of `NORMALISATIONS`: scale pixels to [-1, 1], or subtract ImageNet's mean
            and divide by its standard deviation.
        base_size: Longer side of an image at scale 1 in pixels, with an `augmentation` for
            segmentation; 0 for the longer side of the network's input.
        start_from: Weights that the first phase starts from: a run's folder, a weights file, or the
            name of a registered set; `""` for random weights.
        on_bad_image: For `folder:PATH`: `"error"`, or `"skip"` to leave out bad images and images
            without a mask.
        central_crop: Side of the central crop of a test image, as a share of the shorter side; 1
            squeezes the whole image into the input.
        letterbox: True to keep the aspect of a test image that would be squeezed into the input,
            see `larq_groupnet.data.reading.Reading`.
        eval_scales: For segmentation: factors of a test image's own size at which it is read; the
            results are averaged. Scaled images larger than the network's input are read by sliding
            window. Empty to squeeze the whole image into the input, like all augmentations except
            `"segmentation"`.
        eval_flip: For segmentation: True to read a test image mirrored, too.
        eval_crop: For segmentation: True to judge the centre of test images after scaling their
            shorter side to the network's input, as the authors' code does.
        rand_augment: Number and magnitude (0 to 10) of RandAugment's changes after `augmentation`,
            such as `(2, 9)`; `()` for none. This and the next two are for classification.
        mixup: Both parameters of the beta distribution of mixup's shares; 0 for no mixup.
        cutmix: The same for CutMix. With both, each image gets one or the other.
        class_weights: `"median_frequency"` weighs each class in the loss by the median frequency of
            all classes divided by its own, over the training labels or masks (see
            `larq_groupnet.data.frequencies`); `"root_median_frequency"` by the square root, which
            is milder; `""` for equal weights.
        teacher: Teacher of the phases with `soft_targets` or `attention`: a run's folder, a
            weights file, or `larq_zoo:NAME` for a model of larq-zoo with its ImageNet weights.
    """

    name: str
    model: GroupNetConfig
    phases: tuple[Phase, ...]
    dataset: str
    batch_size: int = 16
    steps_per_epoch: int = 0
    seed: int = 0
    augmentation: str = "none"
    colour_jitter: float = 0.2
    normalisation: str = "symmetric"
    central_crop: float = 1.0
    letterbox: bool = False
    base_size: int = 0
    start_from: str = ""
    on_bad_image: str = "error"
    eval_scales: tuple[float, ...] = ()
    eval_flip: bool = False
    eval_crop: bool = False
    rand_augment: tuple[int, ...] = ()
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: str = ""
    teacher: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        numbers = "finite numbers above 0, such as (0.5, 1.0, 1.5)"
        names = normalisations(self.model.input_shape[2])
        readings = f"{' or '.join(map(repr, names))} for input_shape={self.model.input_shape}"
        on_bad = ("error", "skip")
        wanted: dict[str, tuple[bool, str | tuple[str, ...]]] = {
            "eval_scales": (all(map(is_positive, self.eval_scales)), numbers),
            "normalisation": (self.normalisation in names, readings),
            "on_bad_image": (self.on_bad_image in on_bad, on_bad),
        }
        check_fields(self, wanted, RecipeError)
        if not self.trained:
            raise RecipeError("epochs: expected at least 1 in a phase. Received: 0 in all")
        self._check_augmentation()
        phases = [phase.name for phase in self.phases]
        if len(phases) != len({*phases}):
            raise RecipeError(
                "phases: expected a different name for each, because their weights are files of "
                f"these names. Received: {', '.join(phases)}"
            )
        for number, phase in enumerate(self.trained):
            earlier = [each.name for each in self.trained[:number]]
            if not earlier and self.start_from:  # The folder of a run may have its weights.
                earlier = phases[: phases.index(phase.name)]
            if phase.weights_from and phase.weights_from not in earlier:
                raise RecipeError(
                    f"{phase.name}.weights_from: expected an earlier phase that is trained, "
                    f"{' or '.join(earlier) or 'but there is none without start_from'}. "
                    f"Received: {phase.weights_from!r}"
                )
        if any(phase.int8 for phase in self.trained[:-1]):
            raise RecipeError(
                "int8: expected as the last phase, because no other phase can start from integers. "
                f"Received: {', '.join(phase.name for phase in self.trained)}"
            )
        if bool(self.teacher) != any(phase.distils for phase in self.phases):
            raise RecipeError(
                "teacher: expected one with soft_targets or attention above 0 in a phase, and none "
                f"without. Received: teacher={self.teacher!r}"
            )

    def _check_augmentation(self) -> None:
        """Checks that augmentations keep masks valid, and that weighted classes can be counted."""
        task = kind_of(self.model.head)
        counts = {"label", "mask"} & {*task.targets} and not (self.mixup or self.cutmix)
        names, fit = ("", *CLASS_WEIGHTS) if counts else ("",), choices(task.targets)
        beside = f"head={self.model.head!r}, mixup={self.mixup:g} and cutmix={self.cutmix:g}"
        if self.augmentation not in fit:
            raise RecipeError(
                f"augmentation: expected one of {', '.join(fit)} with head={self.model.head!r}. "
                f"Received: {self.augmentation!r}.{did_you_mean(self.augmentation, fit)}"
            )
        pair = self.rand_augment
        right = not pair or (
            [type(value) for value in pair] == [int, int] and pair[0] >= 1 and 0 <= pair[1] <= 10
        )
        wanted = {
            "class_weights": (
                self.class_weights in names,
                f"one of {', '.join(map(repr, names))} with {beside}",
            ),
            "rand_augment": (right, "(), or a number of at least 1 and a magnitude of 0 to 10"),
        }
        check_fields(self, wanted, RecipeError)
        for field in ("rand_augment", "mixup", "cutmix"):
            if (value := getattr(self, field)) and not task.mixes:
                raise RecipeError(
                    f"{field}: expected a classifier, because masks would no longer fit. "
                    f"Received: {field}={value!r} with head={self.model.head!r}"
                )

    @property
    def trained(self) -> list[Phase]:
        """The phases with epochs."""
        return [phase for phase in self.phases if phase.epochs]

    @property
    def last_phase(self) -> Phase:
        """The last phase with epochs, whose weights are judged."""
        return self.trained[-1]

    def size(self) -> tuple[int, int]:
        """Height and width that the network reads.

        Raises:
            RecipeError: If the network leaves them open.
        """
        height, width, _ = self.model.input_shape
        if height is None or width is None:
            raise RecipeError(
                "input_shape: expected a fixed height and width to train and convert. "
                f"Received: {self.model.input_shape}"
            )
        return height, width

    def reading(self, size: tuple[int, int] | None = None) -> Reading:
        """How a test image becomes the input of a network with this size."""
        return Reading(
            size,
            self.normalisation,
            self.central_crop,
            self.eval_scales,
            self.eval_flip,
            self.letterbox,
        )

    def preprocessing(self) -> dict[str, Any]:
        """How the network reads an image, in plain values for a file."""
        return {"size": [*self.model.input_shape[:2]], **self.reading().to_dict()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`, also after a trip through JSON."""
        phases = tuple(map(Phase.from_dict, values["phases"]))
        model = GroupNetConfig.from_dict(values["model"])
        return cls(**{**values, "model": model, "phases": phases})


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """Key (as for `override`) -> both values, wherever two recipes differ.

    Phases are compared only if they have the same name in the same place.
    """
    pairs: list[tuple[str, Any, Any]] = [("", one, other), ("", one.model, other.model)]
    phases = zip(one.phases, other.phases, strict=False)
    pairs += [(f"{old.name}.", old, new) for old, new in phases if old.name == new.name]
    return {
        f"{prefix}{field.name}": (getattr(old, field.name), getattr(new, field.name))
        for prefix, old, new in pairs
        for field in dataclasses.fields(old)
        if field.name not in ("name", "model", "phases")
        and getattr(old, field.name) != getattr(new, field.name)
    }


def split_spec(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a `Spec`."""
    if isinstance(spec, str):
        return spec, {}
    return spec["class_name"], dict(spec.get("config") or {})


def _check_spec(option: str, spec: Any, names: tuple[str, ...]) -> None:
    """Checks a `Spec` as far as possible without TensorFlow.

    Args:
        option: Name of the option, for messages.
        spec: The user's value.
        names: Names of this package; Keras classes start with a capital or `PACKAGE>`.
    """
    given = spec if isinstance(spec, Mapping) else {"class_name": spec}
    name, config = given.get("class_name"), given.get("config") or {}
    known = {*given} <= {"class_name", "config"} and isinstance(config, Mapping)
    if not known or not isinstance(name, str):
        raise RecipeError(
            f"{option}: expected a name, or {{'class_name': NAME, 'config': {{...}}}}. "
            f"Received: {spec!r}"
        )
    if names and name not in names and not (name[:1].isupper() or ">" in name):
        kind = option.rpartition(".")[2]
        raise RecipeError(unknown(kind, name, names) + f", or a class of Keras' {kind}s")


def _check_types(owner: Phase | Recipe, prefix: str = "") -> None:
    """Converts NumPy values to Python, and raises for the first wrong type or value."""
    for field in dataclasses.fields(owner):
        kind, value = str(field.type), native(getattr(owner, field.name))
        object.__setattr__(owner, field.name, value)
        for check in (_TYPES.get(kind.partition("[")[0]), _RANGES.get(field.name)):
            if check is not None:
                right = {field.name: (check[0](value), check[1])}
                check_fields(owner, right, RecipeError, prefix)


def unknown(kind: str, received: str, choices: Iterable[str]) -> str:
    """`unknown KIND RECEIVED`, the nearest choice and all of them."""
    choices = list(choices)
    hint = did_you_mean(received, choices)
    return f"unknown {kind} {received!r}.{hint} Choices: {', '.join(choices)}"
