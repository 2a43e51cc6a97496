"""The commands: their words, their flags and the call that each makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from absl.flags import FlagValues as Flags

from larq_groupnet.cli.flags import (
    CHANGES,
    DATA_DIR,
    NORMALISATION,
    RECIPE,
    TRAIN,
    bool_flag,
    choice_flag,
    float_flag,
    int_flag,
    path_flag,
    repeated_flag,
    size_flag,
    text_flag,
)
from larq_groupnet.cli.program import command


@command("train", flags_of=TRAIN)
def _train(f: Flags) -> None:
    """Train a recipe, convert the network and show what it does.

    With --evaluate it only evaluates, with --tune it searches the structure.
    """
    from larq_groupnet import commands

    commands.train(_values(f), _given(f))


@command(
    "judge",
    "RUN",
    flags_of=(
        DATA_DIR,
        text_flag("samples", "all", "Test images: all, or how many, evenly spread over the set."),
        int_flag("threads", None, "Threads of the converted file; one for each CPU by default."),
        text_flag("strategy", "auto", "Where Keras computes: auto, one_device, mirrored or tpu."),
        repeated_flag("also", "Another dataset of the same classes to judge on; repeatable."),
        bool_flag("both_engines", "Run the file with LCE's interpreter, too, which is far slower."),
    ),
)
def _judge(f: Flags, run: str) -> None:
    """Convert what a run has trained and evaluate both, as the end of train --judge=all."""
    from larq_groupnet import commands

    commands.judge(
        Path(run).expanduser(), f.data_dir, f.samples, f.threads, f.strategy, f.also, f.both_engines
    )


@command("check", "DATASET", flags_of=(DATA_DIR,))
def _check(f: Flags, dataset: str) -> int:
    """Decode every image of a folder once, and keep what is found for training.

    DATASET is folder:PATH, or another name of --dataset whose files lie in a folder.
    """
    from larq_groupnet import commands

    return commands.check(dataset, f.data_dir)


@command(
    "predict",
    "RUN_OR_FILE_OR_NAME",
    "IMAGE_OR_FOLDER...",
    flags_of=(
        path_flag("output", "predictions", "The folder to write."),
        DATA_DIR,
        text_flag("scales", None, "0.5,1,1.5 of the image's own size, for class maps."),
        bool_flag("flip", "Look at the mirror image as well, for class maps.", None),
        NORMALISATION,
    ),
)
def _predict(f: Flags, source: str, *images: str) -> int:
    """Predict class maps, or the likeliest classes, of images."""
    from larq_groupnet import commands

    asked = {"flip": f.flip, "normalisation": f.normalisation}
    return commands.predict(source, images, f.output, f.data_dir, f.scales, asked)


@command(
    "evaluate",
    "RUN_OR_FILE_OR_NAME",
    "[DATASET]",
    flags_of=(
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
    ),
)
def _evaluate(f: Flags, source: str, dataset: str | None = None) -> None:
    """Judge a run, weights or a .tflite on a dataset: metrics, interval, confusion."""
    from larq_groupnet import commands

    commands.evaluate(
        source, dataset, f.data_dir, f.split, f.output, f.on_bad_image, f.normalisation
    )


@command(
    "convert",
    "RUN_OR_FILE_OR_NAME",
    flags_of=(
        path_flag("output", "model.tflite", "The file to write."),
        DATA_DIR,
        size_flag("Height,width of the images that it is to read; the run's by default."),
        bool_flag("int8", "8-bit integers where it is not binary, calibrated on training images."),
        int_flag(
            "samples", None, "Images to verify the file on, noise by default; to calibrate on."
        ),
    ),
)
def _convert(f: Flags, source: str) -> None:
    """Convert a trained network for Larq Compute Engine.

    Also a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    from larq_groupnet import commands

    commands.convert(source, f.output, f.data_dir, f.input_size, f.samples, f.int8)


@command(
    "audit",
    "RUN_OR_FILE_OR_NAME",
    flags_of=(size_flag("Height,width of the images that it is to read; the run's by default."),),
)
def _audit(f: Flags, source: str) -> int:
    """Name the layers that Larq Compute Engine runs wrongly or slowly, or that learn badly.

    Also of a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    from larq_groupnet import commands

    return commands.audit(source, f.input_size)


@command(
    "verify",
    "RUN_OR_FILE_OR_NAME",
    "FILE.tflite",
    flags_of=(
        path_flag("output", None, "A folder to write, with an input and its expected output."),
        DATA_DIR,
        size_flag("Height,width of the images that the file reads; the run's by default."),
        int_flag("samples", 8, "Test images to compare."),
    ),
)
def _verify(f: Flags, source: str, file: str) -> None:
    """Compare a converted file with its network, on test images."""
    from larq_groupnet import commands

    commands.verify(source, file, f.output, f.data_dir, f.input_size, f.samples)


@command(
    "benchmark", "FILE.tflite...", flags_of=(int_flag("runs", 30, "Invocations of each file."),)
)
def _benchmark(f: Flags, *files: str) -> None:
    """Measure latency, memory and operations of converted files on this machine."""
    from larq_groupnet.deploy.benchmark import main as benchmark

    benchmark([os.path.expanduser(file) for file in files], f.runs)


@command(
    "summary",
    "MODEL_OR_RUN_OR_FILE_OR_NAME",
    flags_of=(*RECIPE, DATA_DIR, *CHANGES, bool_flag("json", "Print JSON.")),
)
def _summary(f: Flags, source: str) -> None:
    """Count MACs, OPs and memory of a model, of trained weights or of what train trains.

    It takes the flags of train that change what is trained.
    """
    from larq_groupnet import commands

    commands.summary(source, _values(f), f.json, _given(f))


@command(
    "weights",
    "list|fetch|verify|publish",
    "[NAME_OR_RUN_OR_FILE]",
    "[MODEL_OR_NAME]",
    "[LICENCE]",
    flags_of=(
        path_flag("output", "weights", "publish: the folder to write."),
        bool_flag("test_images", "publish: the picture of test images goes along.", default=True),
    ),
)
def _weights(f: Flags, *words: str) -> int:
    """Show, fetch, verify or publish weights.

    list; fetch NAME MODEL; verify; publish RUN_OR_FILE NAME [LICENCE]
    """
    from larq_groupnet import commands

    return commands.weights(words, f.output, f.test_images)


@command(
    "import-checkpoint",
    "FILE",
    flags_of=(
        path_flag("output", "weights", "OUTPUT.h5 and OUTPUT.json are written."),
        text_flag("as", None, "Also register the weights on this machine as weights='NAME'."),
        size_flag("Height,width of the images that it is to read; 224,224 by default."),
        text_flag("dataset", None, "What it was trained on; imagenet2012 if it has 1000 classes."),
        path_flag("classes", None, "A file with the names of its classes, one a line."),
        text_flag("normalisation", None, "How its images were normalised: symmetric or imagenet."),
        float_flag(
            "central_crop", "Side of the central square that it sees, over the shorter side."
        ),
        text_flag(
            "atrous_rates", None, "Of a segmentation network: released, released_bpac, (1,1,3,6)."
        ),
        text_flag("first_rates", None, "Of the first convolution of each stage: half, (1,1,2,3)."),
        bool_flag("shared_shortcut", "Keep the shortcut that all bases share at the authors'."),
    ),
)
def _import_checkpoint(f: Flags, file: str) -> None:
    """Turn a checkpoint of Group-Net's authors into weights of this package."""
    from larq_groupnet.recipes.overrides import parse_options
    from larq_groupnet.weights.checkpoint import main as import_checkpoint

    rates = {name: f[name].value for name in ("atrous_rates", "first_rates")}
    rates = parse_options(f"{name}={text}" for name, text in rates.items() if text)
    import_checkpoint(
        file,
        f.output,
        f["as"].value,
        classes_file=f.classes,
        input_shape=f.input_size and (*f.input_size, 3),
        dataset=f.dataset,
        normalisation=f.normalisation,
        central_crop=f.central_crop,
        shared_shortcut=f.shared_shortcut,
        **rates,
    )


def _values(f: Flags) -> dict[str, Any]:
    return {
        name: value for name, value in f.flag_values_dict().items() if name not in ("h", "help")
    }


def _given(f: Flags) -> list[str]:
    return sorted({f[name].name for name in f if f[name].present})
