"""Flags, as functions that define them, and groups of flags that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from absl import flags

from larq_groupnet.files import path_of

Define = Callable[[flags.FlagValues], Any]


class _Parser(flags.ArgumentParser):
    """Parses a text with a function."""

    def __init__(self, parse: Callable[[str], Any]):
        self.parse = parse


def _size(text: str) -> tuple[int, int] | None:
    from larq_groupnet.recipes.overrides import parse_size

    return parse_size(text)


def _numbers(kind: type, example: str, may_be_empty: bool = False) -> _Parser:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return () if may_be_empty and not text else tuple(map(kind, text.split(",")))
        except ValueError:
            raise ValueError(f"expected numbers such as {example}. Received: {text}") from None

    return _Parser(parse)


def _flag(define: Callable[..., Any], *first: Any, **options: Any) -> Callable[..., Define]:
    """A function that takes a flag's name, default and help text, and other arguments of `define`.

    A flag that is given twice is refused unless it is repeatable.
    """
    options = {"allow_overwrite": False, **options}
    return lambda *args, **own: (
        lambda values: define(*first, *args, flag_values=values, **{**options, **own})
    )


text_flag = _flag(flags.DEFINE_string)
bool_flag = _flag(flags.DEFINE_bool)
choice_flag = _flag(flags.DEFINE_enum)
int_flag = _flag(flags.DEFINE_integer, lower_bound=1)
count_flag = _flag(flags.DEFINE_integer, lower_bound=0)
float_flag = _flag(flags.DEFINE_float)
repeated_flag = _flag(flags.DEFINE_multi_string)
# `~` is the home folder, in paths and in texts that may be paths.
path_flag = _flag(flags.DEFINE, _Parser(path_of))
home_flag = _flag(flags.DEFINE, _Parser(os.path.expanduser))
# Numbers separated by commas.
ints_flag = _flag(flags.DEFINE, _numbers(int, "1,2,3", may_be_empty=True))
floats_flag = _flag(flags.DEFINE, _numbers(float, "0.5,1,1.5"))
# Needs only the help text.
size_flag = _flag(flags.DEFINE, _Parser(_size), "input_size", None)

DATA_DIR = path_flag("data_dir", "data", "Folder of the datasets.")
NORMALISATION = text_flag(
    "normalisation", None, "symmetric or imagenet, instead of the file's own, if it has one."
)
SET = repeated_flag("set", [], "key=value: a field of the recipe or an option of the network")
RECIPE = (
    text_flag("dataset", None, "A TFDS name, folder:PATH or arrays:NAME; the recipe's by default."),
    text_flag(
        "recipe", None, "Recipe of the model to use, named by its dataset; --dataset's by default."
    ),
    text_flag("input_size", None, "Height,width of the images in pixels; the recipe's by default."),
    SET,
)
BUDGET = (
    float_flag("max_ops", None, "--tune: real MACs + binary MACs / 64 per image."),
    float_flag("max_memory", None, "--tune: bytes of parameters."),
    float_flag("max_binary_macs", None, "--tune: 1-bit MACs per image."),
)
SEARCH = (
    text_flag("tuner", "random", "--tune: random, hyperband or bayesian."),
    text_flag("objective", "accuracy", "--tune: accuracy, or frontier (against OPs)."),
    int_flag("max_trials", None, "--tune: 20; with hyperband, one sweep."),
    ints_flag("uniform", "1,2,3,5", "--tune: uniform K to compare with."),
    text_flag("trial_epochs", None, "--tune: --epochs for each trial."),
    *BUDGET,
)
RUNTIME = (
    text_flag("strategy", "auto", "auto, one_device, mirrored, multi_worker (TF_CONFIG) or tpu."),
    text_flag("mixed_precision", "float32", "float32, mixed_bfloat16 or mixed_float16."),
    bool_flag(
        "jit_compile", False, "Compile the training step with XLA; its bits differ from run to run."
    ),
    bool_flag("nondeterministic", False, "Allow operations whose bits differ from run to run."),
    int_flag("steps_per_execution", 1, "Steps that TensorFlow runs before it returns to Python."),
    count_flag("snapshot_steps", 0, "Save every this many steps as well as after each epoch."),
    float_flag(
        "snapshot_minutes", 0.0, "Save every this many minutes as well as after each epoch."
    ),
    count_flag("log_steps", 0, "Log loss, norms and learning rate every this many steps."),
    text_flag("profile", "", "Profile the steps from FIRST,LAST for TensorBoard, such as 10,20."),
)
JUDGE = "all, none, or a number."
CHANGES = (
    home_flag(
        "start_from",
        None,
        "Start from a run's folder, a weights file or registered weights; none for random ones.",
    ),
    text_flag("phase", None, "Train only this phase; --start_from RUN starts from the one before."),
    count_flag("int8_epochs", 0, "Epochs of a last phase with 8-bit integers instead of floats."),
    text_flag(
        "on_bad_image",
        None,
        "error, or skip to skip and list bad images and photos without a mask.",
    ),
    text_flag("epochs", None, "Epochs of each phase: one number, or 2,12."),
    text_flag("batch_size", None, "Images per step."),
    text_flag("seed", None, "Seed of weights, data order and augmentation."),
    text_flag("learning_rate", None, "Peak learning rate of each phase: one number, or 3e-3,1e-3."),
)
TRAIN = (
    text_flag(
        "model",
        None,
        "Name of a file in zoo/, or path of another file; for your own images in --dataset, a "
        "suitable model by default.",
    ),
    *RECIPE,
    DATA_DIR,
    path_flag("output_dir", None, "Folder for all output; runs/MODEL-TIME by default."),
    home_flag(
        "resume", None, "Resume the run in this folder; alone, the newest of --model in runs/."
    ),
    path_flag(
        "evaluate", None, "Only evaluate a run's folder or a weights file on the test images."
    ),
    *CHANGES,
    bool_flag("scale_learning_rate", False, "Scale the learning rates with --batch_size."),
    *RUNTIME,
    text_flag(
        "judge",
        "all",
        f"Test images to judge the trained network and the converted file on: {JUDGE}",
    ),
    bool_flag("tune", False, "Search the structure. --set key=a|b gives choices."),
    *SEARCH,
)
