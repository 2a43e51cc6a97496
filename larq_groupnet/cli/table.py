"""The commands: their words, their flags and the call that each makes."""

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
        words: What it takes beside flags; the last may end with `...` for one or more.
        defines: Define its own flags.
        call: Runs it with the flags and the words. Its docstring is the help. Returns an exit
            status; `None` is 0.
    """

    words: tuple[str, ...]
    defines: Sequence[Define]
    call: Callable[..., int | None]

    def flags(self) -> flags.FlagValues:
        """Its flags, of which none is given yet."""
        values = flags.FlagValues()
        values.set_gnu_getopt(True)
        flags.DEFINE_bool("help", False, "Show this.", values, short_name="h")
        for define in self.defines:
            define(values)
        return values


COMMANDS: dict[str, Command] = {}


def _command(call: Callable[..., int | None], words: str, *defines: Define) -> None:
    COMMANDS[call.__name__.replace("_", "-")] = Command(tuple(words.split()), defines, call)


_command(commands.train, "", *TRAIN)
_command(
    commands.judge,
    "RUN",
    DATA_DIR,
    text_flag("samples", "all", "Test images: all, or how many, evenly spread over the set."),
    int_flag("threads", None, "Threads of the converted file; one for each CPU by default."),
    text_flag("strategy", "auto", "Where Keras computes: auto, one_device, mirrored or tpu."),
    repeated_flag("also", [], "Another dataset of the same classes to judge on"),
    bool_flag(
        "both_engines", False, "Run the file with LCE's interpreter, too, which is far slower."
    ),
)
_command(commands.check, "DATASET", DATA_DIR)
_command(
    commands.predict,
    "RUN_OR_FILE_OR_NAME IMAGE_OR_FOLDER...",
    path_flag("output", "predictions", "The folder to write."),
    DATA_DIR,
    text_flag("scales", None, "0.5,1,1.5 of the image's own size, for class maps."),
    bool_flag("flip", None, "Look at the mirror image as well, for class maps."),
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
        "Which images; all that there are for a folder that no training has seen.",
    ),
    path_flag("output", "evaluation", "The folder to write: JSON, confusion and predictions."),
    choice_flag(
        "on_bad_image", None, ("error", "skip"), "Of a folder; as in the training by default."
    ),
    NORMALISATION,
)
_command(
    commands.convert,
    "RUN_OR_FILE_OR_NAME",
    path_flag("output", "model.tflite", "The file to write."),
    DATA_DIR,
    size_flag("Height,width of the images that it is to read; the run's by default."),
    bool_flag(
        "int8", False, "8-bit integers where it is not binary, calibrated on training images."
    ),
    int_flag(
        "samples",
        None,
        "Images to verify the file on, noise by default; with --int8 to calibrate on, 64.",
    ),
)
_command(
    commands.audit,
    "RUN_OR_FILE_OR_NAME",
    size_flag("Height,width of the images that it is to read; the run's by default."),
)
_command(
    commands.verify,
    "RUN_OR_FILE_OR_NAME FILE.tflite",
    path_flag("output", None, "A folder to write, with an input and its expected output."),
    DATA_DIR,
    size_flag("Height,width of the images that the file reads; the run's by default."),
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
    bool_flag("test_images", True, "publish: the picture of test images goes along."),
    text_flag("command", None, "publish: the command that made the run; by default from zoo/."),
)
_command(
    commands.import_checkpoint,
    "FILE",
    path_flag("output", "weights", "OUTPUT.h5 and OUTPUT.json are written."),
    text_flag("as", None, "Also register the weights on this machine as weights='NAME'."),
    size_flag("Height,width of the images that it is to read; 224,224 by default."),
    text_flag("dataset", None, "What it was trained on; imagenet2012 if it has 1000 classes."),
    path_flag("classes", None, "A file with the names of its classes, one a line."),
    text_flag("normalisation", None, "How its images were normalised: symmetric or imagenet."),
    float_flag(
        "central_crop", None, "Side of the central square that it sees, over the shorter side."
    ),
    text_flag(
        "atrous_rates", None, "Of a segmentation network: released, released_bpac, (1,1,3,6)."
    ),
    text_flag("first_rates", None, "Of the first convolution of each stage: half, (1,1,2,3)."),
    bool_flag("shared_shortcut", False, "Keep the shortcut that all bases share at the authors'."),
)
