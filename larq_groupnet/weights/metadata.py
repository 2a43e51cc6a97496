"""The description of a set of weights, and a check that they fit a network.

Knows nothing about TensorFlow or files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from larq_groupnet.data.reading import Reading
from larq_groupnet.errors import DatasetError, WeightsError
from larq_groupnet.hints import check_fields
from larq_groupnet.network.config import OPTIONS, GroupNetConfig, fields_of_task
from larq_groupnet.network.precision import function_of
from larq_groupnet.values import is_number, is_positive

_QUANTIZERS = ("input_quantizer", "kernel_quantizer")

NOT_STATED = "Not stated: ask whoever gave you these weights."
"""Licence of weights that do not state one."""


class MetadataError(WeightsError):
    """The description of weights is incomplete, or not made of plain values."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure, with the command that measured it or the paper that prints it.

    Attributes:
        name: Name such as `"top-1"` or `"mIoU"`, on the dataset of the weights.
        value: The figure.
        command: The command that measured it with these weights.
        paper: Where the paper prints it, for weights of the paper's network. Not measured here.
    """

    name: str
    value: float
    command: str = ""
    paper: str = ""

    def __post_init__(self) -> None:
        texts = all(isinstance(text, str) for text in (self.name, self.command, self.paper))
        one = bool(self.command) != bool(self.paper)
        if not (texts and self.name and is_number(self.value) and one):
            raise MetadataError(
                "metrics: expected a name, a number, and either the command that measured it or "
                f"the paper that prints it. Received: {self!r}"
            )

    def __str__(self) -> str:
        return f"{self.name} {self.value:g} ({'measured' if self.command else 'paper'})"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The description in a release file.

    Attributes:
        config: The network.
        dataset: What the weights were trained on; empty if unknown.
        classes: Names of the classes; empty if unknown.
        preprocessing: How the images were prepared, in plain values.
        metrics: Figures and their sources.
        licence: Terms of these weights.
        model_name: Name of the model, such as `groupnet_resnet18`; empty if unknown.
        temperature: Divides the logits of a classifier before its probabilities are shown.
    """

    config: GroupNetConfig
    dataset: str
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    licence: str
    model_name: str = ""
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for field in _QUANTIZERS:
            quantizer = getattr(self.config, field)
            if not isinstance(quantizer, str):
                raise MetadataError(
                    f"{field}: expected a name, because a file cannot hold an object. "
                    f"Received: {field}={quantizer!r}"
                )
        wanted = {
            "dataset": (isinstance(self.dataset, str), "a text"),
            "licence": (isinstance(self.licence, str) and bool(self.licence.strip()), "a text"),
            "model_name": (isinstance(self.model_name, str), "a text"),
            "temperature": (is_positive(self.temperature), "a finite number above 0"),
        }
        check_fields(self, wanted, MetadataError)
        if not all(isinstance(name, str) for name in self.classes):
            raise MetadataError(f"classes: expected names. Received: {self.classes!r}")
        if self.classes and len(self.classes) != self.config.num_classes:
            raise MetadataError(
                f"classes: expected {self.config.num_classes} names, as config.num_classes, or "
                f"none. Received: {len(self.classes)}"
            )
        try:
            plain = json.loads(json.dumps(self.preprocessing, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise MetadataError(f"preprocessing: expected plain values: {error}") from error
        if not isinstance(plain, dict):
            raise MetadataError(
                f"preprocessing: expected names and values. Received: {self.preprocessing!r}"
            )
        known = plain.keys() & {field.name for field in dataclasses.fields(Reading)}
        try:
            Reading(**{name: plain[name] for name in known})
        except DatasetError as error:
            raise MetadataError(f"preprocessing: {error}") from error
        # As a file returns it, so that a description equals itself after a trip through one.
        object.__setattr__(self, "preprocessing", plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {**dataclasses.asdict(self), "config": self.config.to_dict()}
        if not self.model_name:
            del values["model_name"]
        if self.temperature == 1:  # Earlier versions do not know it.
            del values["temperature"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metadata:
        """The inverse of `to_dict`, also after a trip through JSON."""
        config, classes = GroupNetConfig.from_dict(values["config"]), tuple(values["classes"])
        metrics = tuple(Metric(**metric) for metric in values["metrics"])
        return cls(**{**values, "config": config, "classes": classes, "metrics": metrics})


def compare(theirs: GroupNetConfig, ours: GroupNetConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Compares the configurations of weights and of a model.

    Args:
        theirs: The configuration that the weights were made with.
        ours: The configuration of the model that wants them.

    Returns:
        Two mappings from an option to a text with both values. With the options of the first, the
        weights belong to another network; with those of the second, they fit but compute something
        else than they were trained for. Both omit options that change no weight (dilation, output
        stride, image size, dropout), the head, and quantizers that differ only in their gradient.
    """
    different: dict[str, str] = {}
    noted: dict[str, str] = {}
    left, right = _comparable(theirs), _comparable(ours)
    for option in left:
        if left[option] == right[option]:
            continue
        values = getattr(theirs, option), getattr(ours, option)
        text = f"{option}: {values[0]!r} in the file, {values[1]!r} in the model"
        free = OPTIONS[option].affects == "arithmetic"
        # A stem of stride 1 has a 3x3 kernel; stems of strides 2 and 4 have the same 7x7.
        if option == "stem_stride" and 1 in values:
            free = False
        (noted if free else different)[option] = text
    return different, noted


def _comparable(config: GroupNetConfig) -> dict[str, Any]:
    """Option -> value, equal for two spellings of the same network."""
    task = fields_of_task()
    values = {
        option: getattr(config, option)
        for option, about in OPTIONS.items()
        if about.affects == "weights" or (about.affects == "arithmetic" and option not in task)
    }
    values["stage_blocks"] = config.blocks
    values["num_bases"] = config.bases_per_stage
    values["input_shape"] = config.input_shape[2]
    for option in _QUANTIZERS:
        values[option] = function_of(values[option])
    return values
