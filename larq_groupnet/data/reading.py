"""`Reading`: how an image becomes a network's input, in plain values.

A recipe, a weights file and a `.tflite` carry one, so that training, evaluation and `predict` read
images the same way. `larq_groupnet.data.images` handles the pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import DatasetError
from larq_groupnet.hints import check_fields
from larq_groupnet.values import is_count, is_positive, native

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import ArrayLike

NORMALISATIONS = ("symmetric", "imagenet")
"""`"symmetric"` maps pixels to [-1, 1]; `"imagenet"` subtracts ImageNet's mean and divides by its
standard deviation."""

MAX_PIXELS = 2**27
"""Pixels of the largest image that is decoded: 134 million, 1.6 GB as floats."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How an image becomes a network's input.

    Attributes:
        size: Height and width of the input; `None` if the network takes any size.
        normalisation: One of `NORMALISATIONS`.
        central_crop: Side of the central square that a classifier sees, divided by the shorter side
            of the image; 1 squeezes the whole image into the input.
        scales: Scales, relative to the image's own size, at which a segmenter slides its window
            over the image; empty to squeeze the whole image into the input.
        flip: True if a segmenter also looks at the mirror image.
        letterbox: True to keep the aspect of an image instead of squeezing it: the image is scaled
            to fit, and the mean colour fills the rest below or on the right.

    Raises:
        DatasetError: If a value is not as described.
    """

    size: tuple[int, int] | None = None
    normalisation: str = "symmetric"
    central_crop: float = 1.0
    scales: tuple[float, ...] = ()
    flip: bool = False
    letterbox: bool = False

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            object.__setattr__(self, each.name, native(getattr(self, each.name)))
        if self.size == (None, None):  # From a network that takes any size.
            object.__setattr__(self, "size", None)
        crop = is_positive(self.central_crop) and self.central_crop <= 1
        scales = isinstance(self.scales, tuple) and all(map(is_positive, self.scales))
        wanted: dict[str, tuple[bool, str | tuple[str, ...]]] = {
            "size": (_is_size(self.size), "height and width in pixels, or None"),
            "normalisation": (self.normalisation in NORMALISATIONS, NORMALISATIONS),
            "central_crop": (crop, "a share in (0, 1]"),
            "scales": (scales, "finite numbers above 0, such as (0.5, 1.0, 1.5)"),
            "flip": (isinstance(self.flip, bool), "True or False"),
            "letterbox": (isinstance(self.letterbox, bool), "True or False"),
        }
        check_fields(self, wanted, DatasetError)

    def __call__(self, pixels: ArrayLike | tf.Tensor) -> tf.Tensor:
        """One image as a classifier's input: cropped, resized, normalised.

        Args:
            pixels: `(height, width, channels)` of 0 to 255, upright.

        Returns:
            `(*size, channels) float32`.
        """
        from larq_groupnet.data import images

        pixels = images.central_crop(images.as_float(pixels), self.central_crop)
        if self.size is None:
            return images.normalise(pixels, self.normalisation)
        if not self.letterbox:
            return images.normalise(images.resize(pixels, self.size), self.normalisation)
        pixels = images.resize(pixels, images.fitted(pixels, self.size))
        # After normalisation, the mean colour is 0.
        return images.pad(images.normalise(pixels, self.normalisation), self.size, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; leaves out `size` if it is `None`.

        Leaves out `letterbox` if it is off, so that earlier versions can read the values.
        """
        values = {**dataclasses.asdict(self), "letterbox": self.letterbox or None}
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {name: value for name, value in lists.items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        """The inverse of `to_dict`, also after a trip through JSON.

        Raises:
            DatasetError: If a value is not as described, or this version does not know a field.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        strange = sorted(set(values) - known)
        if strange:
            raise DatasetError(
                f"preprocessing: expected {', '.join(sorted(known))}. Received: "
                f"{', '.join(strange)}. A newer version may have written this; install that one."
            )
        return cls(**values)


def normalisations(channels: int) -> tuple[str, ...]:
    """Normalisations for this number of channels; ImageNet's mean needs three."""
    return tuple(name for name in NORMALISATIONS if name != "imagenet" or channels == 3)


def _is_size(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    return value is None or (pair and all(map(is_count, value)))
