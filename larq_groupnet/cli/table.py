"""The table of commands: their arguments, their flags and the functions they call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from absl import flags

from larq_groupnet import commands
from larq_groupnet.cli.flags import (
    CHANGES,
    DATA_DIR,
    NORMALISATION,
    RECIPE,
    TRAIN,
    Define,
    bool_flag,
    choice_flag,
    float_flag,
    floats_flag,
    int_flag,
    path_flag,
    repeated_flag,
    size_flag,
    text_flag,
)


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        words: Its positional arguments; the last may end with `...` for one or more.
        defines: Functions that define its flags.
        call: Runs it with the flags and the positional arguments. Its docstring is the help.
            Returns an exit status; `None` is 0.
    """

    words: tuple[str, ...]
    defines: Sequence[Define]
    call: Callable[..., int | None]

    def flags(self) -> flags.FlagValues:
        """Its flags, before parsing."""
        values = flags.FlagValues()
        values.set_gnu_getopt(True)
        flags.DEFINE_bool("help", False, "Show this.", values, short_name="h")
        for define in self.defines:
            define(values)
        return values


COMMANDS: dict[str, Command] = {}

_SIZE = size_flag("Height,width of the file's input images; the run's by default.")


def _command(call: Callable[..., int | None], words: str, *defines: Define) -> None:
    COMMANDS[call.__name__.replace("_", "-")] = Command(tuple(words.split()), defines, call)


_command(commands.train, "", *TRAIN)
_command(
    commands.judge,
    "RUN",
    DATA_DIR,
    text_flag("samples", "all", "Test images: all, or a number, evenly spread over the set."),
    int_flag("threads", None, "Threads of the converted file; one per CPU by default."),
    text_flag("strategy", "auto", "Devices for Keras: auto, one_device, mirrored or tpu."),
    repeated_flag("also", [], "Another dataset with the same classes to judge on"),
    bool_flag(
        "both_engines", False, "Also run the file with LCE's interpreter, which is far slower."
    ),
)
_command(commands.check, "DATASET", DATA_DIR)
_command(
    commands.predict,
    "RUN_OR_FILE_OR_NAME IMAGE_OR_FOLDER...",
    path_flag("output", "predictions", "The folder to write."),
    DATA_DIR,
    floats_flag(
        "scales", None, "Factors on the image's own size, such as 0.5,1,1.5, for class maps."
    ),
    bool_flag("flip", None, "Also read the mirror image, for class maps."),
    NORMALISATION,
)
_command(
    commands.evaluate,
    "RUN_OR_FILE_OR_NAME [DATASET]",
    DATA_DIR,
    choice_flag(
        "split",
        "test",
        ("test", "validation", "train", "all"),
        "Images to judge; all for a folder that no training has seen.",
    ),
    path_flag("output", "evaluation", "The folder to write: JSON, confusion and predictions."),
    choice_flag(
        "on_bad_image", None, ("error", "skip"), "For a folder; as in training by default."
    ),
    NORMALISATION,
)
_command(
    commands.convert,
    "RUN_OR_FILE_OR_NAME",
    path_flag("output", "model.tflite", "The file to write."),
    DATA_DIR,
    _SIZE,
    bool_flag(
        "int8", False, "Use 8-bit integers instead of floats, calibrated on training images."
    ),
    int_flag(
        "samples",
        None,
        "Images to verify the file on, noise by default; with --int8, to calibrate on (64).",
    ),
)
_command(commands.audit, "RUN_OR_FILE_OR_NAME", _SIZE)
_command(
    commands.verify,
    "RUN_OR_FILE_OR_NAME FILE.tflite",
    path_flag("output", None, "Folder to write inputs and expected outputs to."),
    DATA_DIR,
    _SIZE,
    int_flag("samples", 8, "Test images to compare."),
)
_command(commands.benchmark, "FILE.tflite...", int_flag("runs", 30, "Invocations of each file."))
_command(
    commands.summary,
    "MODEL_OR_RUN_OR_FILE_OR_NAME",
    *RECIPE,
    DATA_DIR,
    *CHANGES,
    bool_flag("json", False, "Print JSON."),
)
_command(
    commands.weights,
    "list|fetch|verify|publish [NAME_OR_RUN_OR_FILE] [MODEL_OR_NAME] [LICENCE]",
    path_flag("output", "weights", "publish: the folder to write."),
    bool_flag("test_images", True, "publish: include the picture of test images."),
    text_flag(
        "command", None, "publish: the command that made the run; derived from zoo/ by default."
    ),
)
_command(
    commands.import_checkpoint,
    "FILE",
    path_flag(
        "output",
        "weights",
        "Writes OUTPUT.h5, the weights, and OUTPUT.json, their metadata.",
    ),
    text_flag("as", None, "Also register the weights on this machine as weights='NAME'."),
    size_flag(
        "Height,width of the input images; 224,224 by default. Required for a segmentation "
        "network: the authors train at 480,480."
    ),
    text_flag(
        "dataset",
        None,
        "Name of its training dataset, for the metadata; imagenet2012 by default for a "
        "classifier of 1000 classes, else none.",
    ),
    path_flag(
        "classes",
        None,
        "A file with the names of its classes, one per line, in the order of their labels; "
        "unknown by default.",
    ),
    text_flag(
        "normalisation",
        None,
        "How its images were normalised: symmetric or imagenet. The authors' by default "
        "for segmentation, or for 1000 classes without --dataset; else predict needs the flag.",
    ),
    float_flag(
        "central_crop",
        None,
        "Side of the central square that it reads, divided by the shorter side; by default the "
        "authors' for 1000 classes without --dataset, else 1.",
    ),
    text_flag(
        "atrous_rates",
        None,
        "Required for a segmentation network, because the file has no rates: released for "
        "the authors' plain backbone, released_bpac for the one with lists of rates, or one rate "
        "per stage, (1,1,3,6). Not for a classifier.",
    ),
    text_flag(
        "first_rates",
        None,
        "For a segmentation network with unnamed rates, the rates of the first convolution of "
        "each stage: half, or (1,1,2,3).",
    ),
    bool_flag("shared_shortcut", False, "Keep the authors' shortcut that all bases share."),
)
