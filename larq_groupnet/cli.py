"""`larq-groupnet COMMAND`: reads flags and makes one call. TensorFlow loads after the flags."""

from __future__ import annotations

import dataclasses
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from absl.flags import FlagValues as Flags

from larq_groupnet.errors import Interrupted, TrainingError, UserError
from larq_groupnet.hints import did_you_mean

PROGRAM = "larq-groupnet"


Define = Callable[[Flags], Any]


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        words: What it takes beside flags; the last may end with `...` for one or more.
        defines: Define its own flags.
        call: Runs it with the flags and the words. Returns an exit status; `None` is 0.
    """

    words: tuple[str, ...]
    defines: Sequence[Define]
    call: Callable[..., int | None]

    def flags(self) -> Flags:
        """Its flags, of which none is given yet."""
        values = Flags()
        values.set_gnu_getopt(True)
        flags.DEFINE_bool("help", False, "Show this.", values, short_name="h")
        for define in self.defines:
            define(values)
        return values


COMMANDS: dict[str, Command] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The command and its arguments; those of the process by default.

    Returns:
        The exit status: 2 for something that the user can mend, which is one line on stderr.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if name in ("-h", "--help", "help"):
            print(_overview())
            return 0
        if name not in COMMANDS:
            raise UserError(
                f"command: expected one of {', '.join(COMMANDS)}. Received: {name}."
                f"{did_you_mean(name, COMMANDS)}"
            )
        return _run(name, rest)
    except (UserError, OSError, flags.Error) as error:
        _complain(error)
        return 1 if isinstance(error, TrainingError) else 2
    except Interrupted as error:
        _complain(error)
        return 128 + error.signum
    except KeyboardInterrupt:
        return 130


def _run(name: str, rest: Sequence[str]) -> int:
    from larq_groupnet._stack import quiet

    command = COMMANDS[name]
    values = command.flags()
    _, *words = values([name, *_with_value(rest, "--resume")])
    if values.help:
        print(_usage(name))
        return 0
    least = len([word for word in command.words if not word.startswith("[")])
    endless = command.words[-1:] and command.words[-1].endswith("...")
    if not least <= len(words) <= (sys.maxsize if endless else len(command.words)):
        raise UserError(
            f"{name}: expected {' '.join(command.words) or 'only flags'}. "
            f"Received: {' '.join(words) or 'nothing'}. See {PROGRAM} {name} --help."
        )
    quiet()
    warnings.formatwarning = lambda message, *_, **__: f"{PROGRAM}: warning: {message}\n"
    return command.call(values, *words) or 0


def _with_value(words: Sequence[str], flag: str) -> list[str]:
    """`FLAG` without a value becomes `FLAG=`."""
    pairs = zip(words, [*words[1:], "--"], strict=False)
    return [f"{a}=" if a == flag and b.startswith("-") else a for a, b in pairs]


def _complain(error: BaseException) -> None:
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    print(f"{PROGRAM}: {text.replace(':; ', ': ')}", file=sys.stderr)


def _overview() -> str:
    lines = [f"usage: {PROGRAM} COMMAND [words and flags]; {PROGRAM} COMMAND --help", ""]
    for name, command in COMMANDS.items():
        first = (command.call.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:<18} {first}")
    return "\n".join(lines)


def _usage(name: str) -> str:
    command = COMMANDS[name]
    lines = [" ".join(["usage:", PROGRAM, name, *command.words, "[flags]"]), ""]
    lines += [textwrap.dedent(f"    {command.call.__doc__}").strip(), ""]
    values = command.flags()
    found = {values[key].name: values[key] for key in values}
    for flag in found.values():
        default = "" if flag.default in (None, False, []) else f" (default: {flag.default})"
        lines += [
            f"  --{flag.name}",
            textwrap.indent(textwrap.fill(flag.help + default, 84), " " * 8),
        ]
    return "\n".join(lines)


class _Path(flags.ArgumentParser):
    """A path, `~` being the home folder."""

    def parse(self, argument: str | Path) -> Path:
        return Path(argument).expanduser()


class _Home(flags.ArgumentParser):
    """A text that may start with `~`."""

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)


class _Size(flags.ArgumentParser):
    """Height and width in pixels."""

    def parse(self, argument: Any) -> Any:
        from larq_groupnet.recipes.overrides import parse_size

        return parse_size(argument) if isinstance(argument, str) else argument


def _command(name: str, *words: str, flags_of: Sequence[Define] = ()) -> Any:
    """Registers a function of the flags and the words as a command."""

    def register(call: Callable[..., int | None]) -> Callable[..., int | None]:
        COMMANDS[name] = Command(words, flags_of, call)
        return call

    return register


def _text(name: str, default: str | None, help: str) -> Define:
    return lambda values: flags.DEFINE_string(name, default, help, values)


def _bool(name: str, help: str, default: bool | None = False) -> Define:
    return lambda values: flags.DEFINE_bool(name, default, help, values)


def _choice(name: str, default: str, choices: Sequence[str], help: str) -> Define:
    return lambda values: flags.DEFINE_enum(name, default, choices, help, values)


def _int(name: str, default: int | None, help: str, least: int = 1) -> Define:
    return lambda values: flags.DEFINE_integer(name, default, help, least, flag_values=values)


def _float(name: str, help: str, default: float | None = None) -> Define:
    return lambda values: flags.DEFINE_float(name, default, help, flag_values=values)


def _path(name: str, default: str | None, help: str) -> Define:
    return lambda values: flags.DEFINE(_Path(), name, default, help, values)


def _home(name: str, default: str | None, help: str) -> Define:
    """A path or a name; `~` is the home folder."""
    return lambda values: flags.DEFINE(_Home(), name, default, help, values)


def _many(name: str, help: str) -> Define:
    return lambda values: flags.DEFINE_multi_string(name, [], help, values)


def _size(help: str) -> Define:
    return lambda values: flags.DEFINE(_Size(), "input_size", None, help, values)


_DATA_DIR = _path("data_dir", "data", "Where datasets are kept.")
_SET = _many("set", "key=value: a field of the recipe or an option of the network")
_RECIPE = (
    _text("dataset", None, "A TFDS name, folder:PATH or arrays:NAME; the recipe's by default."),
    _text("recipe", None, "Which recipe of the model, by its dataset; --dataset's by default."),
    _text("input_size", None, "Height,width of the images in pixels; the recipe's by default."),
    _SET,
)
_BUDGET = (
    _float("max_ops", "--tune: real MACs + binary MACs / 64 for an image."),
    _float("max_memory", "--tune: bytes of parameters."),
    _float("max_binary_macs", "--tune: MACs of one bit for an image."),
)
_SEARCH = (
    _text("tuner", "random", "--tune: random, hyperband or bayesian."),
    _text("objective", "accuracy", "--tune: accuracy, or frontier (against OPs)."),
    _int("max_trials", None, "--tune: 20; with hyperband, one sweep."),
    _text("uniform", "1,2,3,5", "--tune: uniform K to compare with."),
    _text("trial_epochs", None, "--tune: --epochs of a trial."),
    *_BUDGET,
)
_RUNTIME = (
    _text("strategy", "auto", "auto, one_device, mirrored, multi_worker (TF_CONFIG) or tpu."),
    _text("mixed_precision", "float32", "float32, mixed_bfloat16 or mixed_float16."),
    _bool("jit_compile", "Compile the training step with XLA; its bits differ from run to run."),
    _bool("nondeterministic", "Allow operations whose bits differ from run to run."),
    _int("steps_per_execution", 1, "Steps that TensorFlow runs before it returns to Python."),
    _int("snapshot_steps", 0, "Save every so many steps as well as after each epoch.", 0),
    _float("snapshot_minutes", "Save every so many minutes as well as after each epoch.", 0.0),
    _int("log_steps", 0, "Log loss, norms and learning rate every so many steps.", 0),
    _text("profile", "", "Profile the steps from FIRST,LAST for TensorBoard, such as 10,20."),
)
_JUDGE = "all, none, or how many test images."
_CHANGES = (
    _text("phase", None, "Train only this phase; --start_from RUN starts from the one before."),
    _int("int8_epochs", 0, "Epochs of a last phase with integers where it is not binary.", 0),
    _text("on_bad_image", None, "error, or skip to leave bad images out and list them."),
    _text("epochs", None, "Epochs of each phase: one number, or 2,12."),
    _text("batch_size", None, "Images per step."),
    _text("seed", None, "Seed of weights, data order and augmentation."),
    _text("learning_rate", None, "Peak learning rate of each phase: one number, or 3e-3,1e-3."),
)
_TRAIN = (
    _text(
        "model",
        None,
        "Name of a file in zoo/, or path of one elsewhere; with --dataset of one's own images, the "
        "one that suits them by default.",
    ),
    *_RECIPE,
    _DATA_DIR,
    _path("output_dir", None, "Takes everything that is written; runs/MODEL-TIME by default."),
    _home("resume", None, "Resume the run in this folder; alone, the newest of --model in runs/."),
    _path("evaluate", None, "Only evaluate a run's folder or a weights file on the test images."),
    _home(
        "start_from",
        None,
        "Start from a run's folder, a weights file or registered weights; none for random ones.",
    ),
    *_CHANGES,
    _bool("scale_learning_rate", "Have the learning rates follow --batch_size, by a rule."),
    *_RUNTIME,
    _text("judge", "all", f"On what to judge the trained network and the converted file: {_JUDGE}"),
    _bool("tune", "Search the structure. --set key=a|b gives choices."),
    *_SEARCH,
)


@_command("train", flags_of=_TRAIN)
def _train(f: Flags) -> None:
    """Train a recipe, convert the network and show what it does.

    With --evaluate it only evaluates, with --tune it searches the structure.
    """
    from larq_groupnet import commands

    commands.train(_values(f), _given(f))


@_command(
    "judge",
    "RUN",
    flags_of=(
        _DATA_DIR,
        _text("samples", "all", "Test images: all, or how many, evenly spread over the set."),
        _int("threads", None, "Threads of the converted file; one for each CPU by default."),
        _text("strategy", "auto", "Where Keras computes: auto, one_device, mirrored or tpu."),
        _many("also", "Another dataset of the same classes to judge on; repeatable."),
    ),
)
def _judge(f: Flags, run: str) -> None:
    """Convert what a run has trained and evaluate both, as the end of train --judge=all."""
    from larq_groupnet import commands

    commands.judge(Path(run).expanduser(), f.data_dir, f.samples, f.threads, f.strategy, f.also)


@_command("check", "DATASET", flags_of=(_DATA_DIR,))
def _check(f: Flags, dataset: str) -> int:
    """Decode every image of a folder once, and keep what is found for training.

    DATASET is folder:PATH, or another name of --dataset whose files lie in a folder.
    """
    from larq_groupnet import commands

    return commands.check(dataset, f.data_dir)


@_command(
    "predict",
    "RUN_OR_FILE_OR_NAME",
    "IMAGE_OR_FOLDER",
    flags_of=(
        _path("output", "predictions", "The folder to write."),
        _DATA_DIR,
        _text("scales", None, "0.5,1,1.5 of the image's own size, for class maps."),
        _bool("flip", "Look at the mirror image as well, for class maps.", None),
        _text("normalisation", None, "symmetric or imagenet, where the file does not say."),
    ),
)
def _predict(f: Flags, source: str, images: str) -> int:
    """Predict class maps, or the likeliest classes, of images."""
    from larq_groupnet import commands

    asked = {"flip": f.flip, "normalisation": f.normalisation}
    return commands.predict(source, images, f.output, f.data_dir, f.scales, asked)


@_command(
    "evaluate",
    "RUN_OR_FILE_OR_NAME",
    "[DATASET]",
    flags_of=(
        _DATA_DIR,
        _choice("split", "test", ("test", "validation", "train", "all"), "Which images; all that "
                "there are for a folder that no training has seen."),
        _path("output", "evaluation", "The folder to write: JSON, confusion and predictions."),
        _choice("on_bad_image", "error", ("error", "skip"), "Of a folder."),
    ),
)  # fmt: skip
def _evaluate(f: Flags, source: str, dataset: str | None = None) -> None:
    """Judge a run, weights or a .tflite on a dataset: metrics, interval, confusion."""
    from larq_groupnet import commands

    commands.evaluate(source, dataset, f.data_dir, f.split, f.output, f.on_bad_image)


@_command(
    "convert",
    "RUN_OR_FILE_OR_NAME",
    flags_of=(
        _path("output", "model.tflite", "The file to write."),
        _DATA_DIR,
        _size("Height,width of the images that it is to read; the run's by default."),
        _bool("int8", "8-bit integers where it is not binary, calibrated on training images."),
        _int("samples", None, "Images to verify the file on, noise by default; to calibrate on."),
    ),
)
def _convert(f: Flags, source: str) -> None:
    """Convert a trained network for Larq Compute Engine.

    Also a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    from larq_groupnet import commands

    commands.convert(source, f.output, f.data_dir, f.input_size, f.samples, f.int8)


@_command(
    "audit",
    "RUN_OR_FILE_OR_NAME",
    flags_of=(_size("Height,width of the images that it is to read; the run's by default."),),
)
def _audit(f: Flags, source: str) -> int:
    """Name the layers that Larq Compute Engine runs wrongly or slowly, or that learn badly.

    Also of a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    from larq_groupnet import commands

    return commands.audit(source, f.input_size)


@_command(
    "verify",
    "RUN_OR_FILE_OR_NAME",
    "FILE.tflite",
    flags_of=(
        _path("output", None, "A folder to write, with an input and its expected output."),
        _DATA_DIR,
        _size("Height,width of the images that the file reads; the run's by default."),
        _int("samples", 8, "Test images to compare."),
    ),
)
def _verify(f: Flags, source: str, file: str) -> None:
    """Compare a converted file with its network, on test images."""
    from larq_groupnet import commands

    commands.verify(source, file, f.output, f.data_dir, f.input_size, f.samples)


@_command("benchmark", "FILE.tflite...", flags_of=(_int("runs", 30, "Invocations of each file."),))
def _benchmark(f: Flags, *files: str) -> None:
    """Measure latency, memory and operations of converted files on this machine."""
    from larq_groupnet.deploy.benchmark import main as benchmark

    benchmark([os.path.expanduser(file) for file in files], f.runs)


@_command(
    "summary",
    "MODEL_OR_RUN_OR_FILE_OR_NAME",
    flags_of=(*_RECIPE, _DATA_DIR, *_CHANGES, _bool("json", "Print JSON.")),
)
def _summary(f: Flags, source: str) -> None:
    """Count MACs, OPs and memory of a model, of trained weights or of what train trains.

    It takes the flags of train that change what is trained.
    """
    from larq_groupnet import commands

    commands.summary(source, _values(f), f.json, _given(f))


@_command(
    "weights",
    "list|fetch|verify|publish",
    "[NAME_OR_RUN_OR_FILE]",
    "[MODEL_OR_NAME]",
    "[LICENCE]",
    flags_of=(_path("output", "weights", "publish: the folder to write."),),
)
def _weights(f: Flags, *words: str) -> int:
    """Show, fetch, verify or publish weights.

    list; fetch NAME MODEL; verify; publish RUN_OR_FILE NAME [LICENCE]
    """
    from larq_groupnet import commands

    return commands.weights(words, f.output)


@_command(
    "import-checkpoint",
    "FILE",
    flags_of=(
        _path("output", "weights", "OUTPUT.h5 and OUTPUT.json are written."),
        _text("as", None, "Also register the weights on this machine as weights='NAME'."),
        _size("Height,width of the images that it is to read; 224,224 by default."),
        _text("dataset", None, "What it was trained on; imagenet2012 if it has 1000 classes."),
        _path("classes", None, "A file with the names of its classes, one a line."),
        _text("normalisation", None, "How its images were normalised: symmetric or imagenet."),
        _float("central_crop", "Side of the central square that it sees, over the shorter side."),
        _text(
            "atrous_rates", None, "Of a segmentation network: released, released_bpac, (1,1,3,6)."
        ),
        _text("first_rates", None, "Of the first convolution of each stage: half, (1,1,2,3)."),
        _bool("shared_shortcut", "Keep the shortcut that all bases share at the authors'."),
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
