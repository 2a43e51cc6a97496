"""Random changes of one training example, each a pure function of the example and a seed.

Every function takes an image `(height, width, channels) float32` in [0, 255], a target (a label, or
a class map `(height, width, 1) int32`), the size of the model's input and a seed of two integers,
and returns the image at that size, and the target. It may also take the keyword arguments in
`GIVEN`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from larq_groupnet.data import AUGMENTATIONS, VOID, DatasetError, images
from larq_groupnet.lazy import Lazy

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = Lazy("tensorflow")

Size = tuple[int, int]
Example = tuple["tf.Tensor", "tf.Tensor"]
Change = Callable[["tf.Tensor", "tf.Tensor", Size, "tf.Tensor"], Example]
Part = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]
"""Maps an image's shape and a seed to the top, left, height and width of a crop, `(4,) int32`."""

ANY = ("*",)
"""Targets of a change that only resizes or recolours: every kind stays valid."""

GIVEN = ("colour_jitter", "base_size", "mean")
"""Keyword arguments of augmentations: two recipe fields, and the colour that normalises to 0."""

MEAN_COLOUR = 128.0
"""Fills the area outside the image."""


@dataclasses.dataclass(eq=False)
class Augmentation:
    """A random change, as `augmentation` registers it.

    Attributes:
        function: Changes an image and its target.
        targets: The kinds of target that it keeps valid: `"label"`, `"mask"`, the target of another
            task, or `ANY`.
        part: Picks the random crop that the change starts with, if any, so that only the crop is
            decoded.
        options: Keyword arguments of the function.
        detail: Resolution that it needs, as a multiple of the longer side of the model's input; 0
            for the full image. If set, images are read once and kept as smaller copies; see
            `copies`.
    """

    function: Callable[..., Example]
    targets: tuple[str, ...]
    part: Part | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detail: float = 0.0

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
        """Applies the whole change."""
        if self.part is not None:
            box = tf.unstack(self.part(tf.shape(image), seed))
            image = tf.image.crop_to_bounding_box(image, *box)
        return self.change(image, target, size, seed)

    def change(self, image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
        """Applies the rest of the change after only `part` of the image was decoded."""
        return self.function(image, target, size, seed, **self.options)

    @property
    def takes(self) -> Collection[str]:
        """The names of its arguments. An argument named like a recipe field gets its value."""
        return inspect.signature(self.function).parameters

    def with_options(self, **options: Any) -> Augmentation:
        """A copy with these options; ignores options that it does not take."""
        mine = {name: value for name, value in options.items() if name in self.takes}
        return dataclasses.replace(self, options={**self.options, **mine})


def augmentation(
    name: str,
    targets: tuple[str, ...] = ("label",),
    part: Part | None = None,
    detail: float = 0.0,
) -> Callable[[Callable[..., Example]], Augmentation]:
    """Registers the decorated function as a random change that recipes know by `name`.

    See `Augmentation` for `targets`, `part` and `detail`.
    """
    AUGMENTATIONS.check_name(name)
    if isinstance(targets, str):
        raise DatasetError(
            f"augmentation: expected targets as a tuple of names, such as ({targets!r},), under "
            f"{name!r}. Received: targets={targets!r}"
        )

    def register(function: Callable[..., Example]) -> Augmentation:
        AUGMENTATIONS.check_function(name, function)
        arguments = list(inspect.signature(function).parameters)
        if len(arguments) < 4 or not {*arguments[4:]} <= {*GIVEN}:
            raise DatasetError(
                f"augmentation: expected a function of image, target, size and seed, with keyword "
                f"arguments among {', '.join(GIVEN)}, under {name!r}. Received: "
                f"{', '.join(arguments)}"
            )
        return AUGMENTATIONS.add(name, Augmentation(function, targets, part, detail=detail))

    return register


def choices(targets: Iterable[str]) -> list[str]:
    """Names of the augmentations that support one of these targets."""
    fit = {*targets, *ANY}
    return [name for name, each in AUGMENTATIONS.items() if fit & set(each.targets)]


def _resized(image: tf.Tensor, target: tf.Tensor, size: Size | tf.Tensor) -> Example:
    if target.shape.rank:
        target = images.resize_mask(target, size)
    return images.resize(image, size), target


@augmentation("none", targets=ANY)
def unchanged(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Only resizes."""
    del seed
    return _resized(image, target, size)


@augmentation("colour", targets=ANY)
def colour(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor, *, colour_jitter: float = 0.2
) -> Example:
    """Changes contrast and brightness of each colour channel by up to `colour_jitter`.

    Contrast changes by a factor, brightness in units of half the pixel range.
    """
    image, target = _resized(image, target, size)
    shape = (2, image.shape[-1])
    change = tf.random.stateless_uniform(shape, seed, -colour_jitter, colour_jitter)
    return ((image / 127.5 - 1) * (1 + change[0]) + change[1] + 1) * 127.5, target


@augmentation("shift")
def shift(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Shifts the image by up to an eighth of its size; mirrors its border to fill the gap."""
    image, target = _resized(image, target, size)
    return _padded_crop(image, size, seed, "SYMMETRIC"), target


@augmentation("cifar")
def cifar(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Pads by an eighth with mid-grey, crops and flips at random, as is usual for CIFAR."""
    image, target = _resized(image, target, size)
    image = _padded_crop(image, size, seed, "CONSTANT")
    return tf.image.stateless_random_flip_left_right(image, _other(seed, 1)), target


def random_part(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The crop that `imagenet` takes from an image of a shape `(3,)`; see `Part`."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], 0)


@augmentation("imagenet", part=random_part)
def imagenet(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Crops 8 to 100 % of the area at an aspect of 3:4 to 4:3, resizes, and flips at random.

    The authors' code trains on ImageNet this way.
    """
    image = tf.ensure_shape(_scaled(image, size), (*size, image.shape[-1]))
    return tf.image.stateless_random_flip_left_right(image, _other(seed, 1)), target


@augmentation("segmentation", targets=("mask",))
def segmentation(
    image: tf.Tensor,
    target: tf.Tensor,
    size: Size,
    seed: tf.Tensor,
    *,
    mean: float | tuple[float, ...] = MEAN_COLOUR,
    base_size: int = 0,
) -> Example:
    """Scales by 0.5 to 2, crops and flips at random; pads with the mean and with void.

    The authors' code trains on VOC this way, with a base size of 520 and crops of 480, except for
    the padding (`segmentation_released`). `base_size` is the longer side of an image at scale 1; 0
    means the longer side of the model's input.
    """
    return _scaled_crop(image, target, size, seed, base_size, (mean, VOID))


@augmentation("segmentation_released", targets=("mask",))
def segmentation_released(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor, *, base_size: int = 0
) -> Example:
    """Like `segmentation`, but pads with black and class 0, as the authors' code does.

    On VOC, class 0 is background, and padding is 18 % of the pixels in crops of 500 x 375 images.
    """
    return _scaled_crop(image, target, size, seed, base_size, (0.0, 0))


def _scaled_crop(
    image: tf.Tensor,
    target: tf.Tensor,
    size: Size,
    seed: tf.Tensor,
    base_size: int,
    padding: tuple[float | tuple[float, ...], int],
) -> Example:
    """`padding` is the pixel and the label outside the image."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    longer = tf.random.stateless_uniform((), seed, 0.5, 2.0) * (base_size or max(size))
    factor = longer / tf.reduce_max(sides)
    scaled = tf.maximum(tf.cast(tf.round(sides * factor), tf.int32), 1)
    image, target = _resized(image, target, scaled)
    pixel, label = padding
    # Subtracted here and added back below, so that padding with 0 gives these values.
    both = tf.concat([image - pixel, tf.cast(target, tf.float32) - label], axis=-1)
    short = tf.maximum(tf.constant(size) - tf.shape(both)[:2], 0)
    both = tf.pad(both, [[0, short[0]], [0, short[1]], [0, 0]])
    channels = image.shape[-1]
    both = tf.image.stateless_random_crop(both, (*size, channels + 1), _other(seed, 1))
    both = tf.image.stateless_random_flip_left_right(both, _other(seed, 2))
    mask = tf.cast(both[..., channels:] + label, tf.int32)
    return both[..., :channels] + pixel, mask


TURN, ZOOM, MOVE = 0.26, 1.4, 0.15
"""Limits of `photo`: radians, a factor, and a share of each side."""


@augmentation("photo", targets=("label", "mask"), detail=1.25)
def photo(
    image: tf.Tensor,
    target: tf.Tensor,
    size: Size,
    seed: tf.Tensor,
    *,
    mean: float | tuple[float, ...] = MEAN_COLOUR,
    colour_jitter: float = 0.2,
) -> Example:
    """Rotates, scales, shifts and flips, keeping the aspect; then `colour`. For photos of any size.

    Rotates by up to 15 degrees, scales by 0.7 to 1.4 relative to the largest fit, and shifts by up
    to 15 % of each side. The mean and void fill the area outside the image.
    """
    draw = tf.random.stateless_uniform((5,), seed, -1.0, 1.0)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    # Image pixels per pixel of the result.
    step = tf.reduce_max(sides / tf.constant(size, tf.float32)) * ZOOM ** draw[0]
    turned = (tf.cos(TURN * draw[1]) * step, tf.sin(TURN * draw[1]) * step)
    middle = (sides - 1) / 2 + MOVE * sides * draw[2:4]
    flip = tf.where(draw[4] < 0, -1.0, 1.0)

    y, x = ((side - 1) / 2 for side in size)
    a, b, d, e = flip * turned[0], -turned[1], flip * turned[1], turned[0]
    rows = [a, b, middle[1] - a * x - b * y, d, e, middle[0] - d * x - e * y]
    image = images.warp(image, rows, size, mean)
    if target.shape.rank:
        mask = images.warp(tf.cast(target, tf.float32), rows, size, VOID, "NEAREST")
        target = tf.cast(mask, tf.int32)
    jitter = colour.with_options(colour_jitter=colour_jitter)
    return jitter(image, target, size, _other(seed, 1))


def _scaled(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Shrinks by area averages, enlarges by bilinear interpolation.

    Area averages are antialiased and take a third of the time of antialiased bilinear in
    TensorFlow.
    """
    shrinks = tf.reduce_all(tf.shape(image)[:2] >= tf.constant(size))
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(image, size, method="area"),
        lambda: tf.image.resize(image, size),
    )


def _padded_crop(image: tf.Tensor, size: Size, seed: tf.Tensor, mode: str) -> tf.Tensor:
    channels = image.shape[-1]
    rows, columns = (max(side // 8, 1) for side in size)
    paddings = [[rows, rows], [columns, columns], [0, 0]]
    padded = tf.pad(image - MEAN_COLOUR, paddings, mode) + MEAN_COLOUR
    return tf.image.stateless_random_crop(padded, (*size, channels), seed)


def _other(seed: tf.Tensor, number: int) -> tf.Tensor:
    """An independent seed for one more draw."""
    return tf.random.experimental.stateless_fold_in(seed, number)
