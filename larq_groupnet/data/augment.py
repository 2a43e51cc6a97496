"""Random changes of one training example, each a pure function of the example and a seed.

Every function takes an image `(height, width, channels) float32` in [0, 255], a target (a label, or
a class map `(height, width, 1) int32`), the size of the model's input and a seed of two integers,
and returns image and target; the image has that size. What else it may take, by name, is `GIVEN`.
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
"""From the shape of an image and a seed to top, left, height and width of a part, `(4,) int32`."""

ANY = ("*",)
"""Truths that a change of colours alone, or none, leaves right: all."""

GIVEN = ("colour_jitter", "base_size", "mean")
"""What an augmentation may take by name: two fields of a recipe, and what is read as 0."""

MEAN_COLOUR = 128.0
"""What stands where there is no image."""


@dataclasses.dataclass(eq=False)
class Augmentation:
    """A random change, as `augmentation` registers it.

    Attributes:
        function: What changes an image and its target.
        targets: What it leaves right, or changes along with the image: `"label"`, `"mask"`, the
            truth of another task, or `ANY`.
        part: Where the change begins with a random part of the image: which, so that no more of a
            file is decoded.
        options: Keyword arguments of the function.
        detail: How many times the longer side of the model's input it looks at, where it needs no
            more of an image; 0 for all. Smaller copies are then read once, see `copies`.
    """

    function: Callable[..., Example]
    targets: tuple[str, ...]
    part: Part | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detail: float = 0.0

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
        """The whole change."""
        if self.part is not None:
            box = tf.unstack(self.part(tf.shape(image), seed))
            image = tf.image.crop_to_bounding_box(image, *box)
        return self.change(image, target, size, seed)

    def change(self, image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
        """What is left to do once only `part` of the image has been decoded."""
        return self.function(image, target, size, seed, **self.options)

    @property
    def takes(self) -> Collection[str]:
        """The names of its arguments; those of a recipe's fields get their values."""
        return inspect.signature(self.function).parameters

    def with_options(self, **options: Any) -> Augmentation:
        """The same with those of these options that it takes."""
        mine = {name: value for name, value in options.items() if name in self.takes}
        return dataclasses.replace(self, options={**self.options, **mine})


def augmentation(
    name: str,
    targets: tuple[str, ...] = ("label",),
    part: Part | None = None,
    detail: float = 0.0,
) -> Callable[[Callable[..., Example]], Augmentation]:
    """Registers the function below it as a random change that recipes know by `name`.

    `targets`, `part` and `detail` are those of `Augmentation`.
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
                f"augmentation: expected a function of image, target, size and seed, and by name "
                f"of any of {', '.join(GIVEN)}, under {name!r}. Received: {', '.join(arguments)}"
            )
        return AUGMENTATIONS.add(name, Augmentation(function, targets, part, detail=detail))

    return register


def choices(targets: Iterable[str]) -> list[str]:
    """The names of what may change examples with one of these truths."""
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
    """Contrast (a factor) and brightness of each colour channel, changed by up to `colour_jitter`.

    In units of half the range of pixels.
    """
    image, target = _resized(image, target, size)
    shape = (2, image.shape[-1])
    change = tf.random.stateless_uniform(shape, seed, -colour_jitter, colour_jitter)
    return ((image / 127.5 - 1) * (1 + change[0]) + change[1] + 1) * 127.5, target


@augmentation("shift")
def shift(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Moves the image by up to an eighth of its size; what comes in is the border, repeated."""
    image, target = _resized(image, target, size)
    return _padded_crop(image, size, seed, "SYMMETRIC"), target


@augmentation("cifar")
def cifar(image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor) -> Example:
    """Padding by an eighth with mid-grey, random crop, random flip: CIFAR's usual one."""
    image, target = _resized(image, target, size)
    image = _padded_crop(image, size, seed, "CONSTANT")
    return tf.image.stateless_random_flip_left_right(image, _other(seed, 1)), target


def random_part(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The part of an image of a shape `(3,)` that `imagenet` looks at; see `Part`."""
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
    """A random part of 8 to 100 % of the area and aspect 3:4 to 4:3, resized, flipped or not.

    As the authors' code trains on ImageNet.
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
    """Scale by 0.5 to 2, random crop, flip; padded by the mean and by void, which counts nowhere.

    The authors' code trains so on VOC, with a base size of 520 and crops of 480, but for what it
    pads with (`segmentation_released`). `base_size` is the longer side of an image at scale 1; 0
    for that of the model's input.
    """
    return _scaled_crop(image, target, size, seed, base_size, (mean, VOID))


@augmentation("segmentation_released", targets=("mask",))
def segmentation_released(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor, *, base_size: int = 0
) -> Example:
    """As `segmentation`, but padded by black and by class 0, which counts, as the authors' code.

    On VOC that is background: 18 % of the pixels of images of 500 x 375.
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
    """`padding`: the pixel and the label that stand where there is no image."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    longer = tf.random.stateless_uniform((), seed, 0.5, 2.0) * (base_size or max(size))
    factor = longer / tf.reduce_max(sides)
    scaled = tf.maximum(tf.cast(tf.round(sides * factor), tf.int32), 1)
    image, target = _resized(image, target, scaled)
    pixel, label = padding
    # The padding is what is left where there is no image, once both are padded with 0.
    both = tf.concat([image - pixel, tf.cast(target, tf.float32) - label], axis=-1)
    short = tf.maximum(tf.constant(size) - tf.shape(both)[:2], 0)
    both = tf.pad(both, [[0, short[0]], [0, short[1]], [0, 0]])
    channels = image.shape[-1]
    both = tf.image.stateless_random_crop(both, (*size, channels + 1), _other(seed, 1))
    both = tf.image.stateless_random_flip_left_right(both, _other(seed, 2))
    mask = tf.cast(both[..., channels:] + label, tf.int32)
    return both[..., :channels] + pixel, mask


TURN, ZOOM, MOVE = 0.26, 1.4, 0.15
"""Of `photo`: radians, a factor, and a share of each side."""


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
    """Turned, scaled, moved and flipped, the aspect kept; then `colour`. For photos of any size.

    By up to 15 degrees, a factor of 0.7 to 1.4 beside the largest that fits, and 15 % of each side.
    The mean and void fill what is outside the image.
    """
    draw = tf.random.stateless_uniform((5,), seed, -1.0, 1.0)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    # One pixel of the result is so many of the image.
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
    """Area averages to shrink, bilinear to enlarge.

    The first is antialiased as well, in a third of the time of TensorFlow's antialiased bilinear.
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
    """A seed of its own for one more draw."""
    return tf.random.experimental.stateless_fold_in(seed, number)
