"""Commands beside training.

python -m larq_groupnet summary groupnet_resnet18 --set num_bases=3 --json
python -m larq_groupnet convert RUN --output model.tflite [--int8 --samples 64]
python -m larq_groupnet audit RUN_OR_FILE
python -m larq_groupnet verify RUN FILE.tflite --output check
python -m larq_groupnet benchmark FILE.tflite...
python -m larq_groupnet predict RUN_OR_FILE_OR_NAME IMAGE_OR_FOLDER --output predictions
python -m larq_groupnet import-checkpoint FILE.pth.tar --output weights/resnet18 --as imagenet
python -m larq_groupnet weights list | fetch NAME MODEL | verify | publish RUN NAME [LICENCE]

A RUN is a folder that train.py has written, or a weights file in one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

if TYPE_CHECKING:
    import tensorflow as tf

_SET = flags.DEFINE_multi_string("set", [], "summary: key=value, an option of the model.")
_JSON = flags.DEFINE_bool("json", False, "summary: print JSON.")
_AS = flags.DEFINE_string("as", None, "import-checkpoint: register as weights='NAME'.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "What to write: OUTPUT.h5 and .json (import-checkpoint), a file or a folder."
)
_INPUT_SIZE = flags.DEFINE_list("input_size", None, "convert: height,width; the run's by default.")
_INT8 = flags.DEFINE_bool(
    "int8", False, "convert: 8-bit integers, calibrated on --samples training images."
)
_SAMPLES = flags.DEFINE_integer("samples", 8, "convert, verify: test images to compare.", 1)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "convert, verify: where datasets are kept.")
_SCALES = flags.DEFINE_list("scales", None, "predict: 0.5,1,1.5 of the image's own size.")
_FLIP = flags.DEFINE_bool("flip", None, "predict: look at the mirror image as well.")
_NORMALISATION = flags.DEFINE_string("normalisation", None, "predict: symmetric or imagenet.")
_RUNS = flags.DEFINE_integer("runs", 30, "benchmark: invocations of each file.", 1)


def main(argv: list[str]) -> None:
    """Runs one command; a wrong word or value is one line and status 2."""
    commands: dict[str, tuple[Callable[..., None], int, int]] = {
        "summary": (_summary, 1, 1),
        "convert": (_convert, 1, 1),
        "audit": (_audit, 1, 1),
        "verify": (_verify, 2, 2),
        "benchmark": (_benchmark, 1, 99),
        "predict": (_predict, 2, 2),
        "import-checkpoint": (_import_checkpoint, 1, 1),
        "weights": (_weights, 1, 4),
    }
    command, least, most = commands.get("".join(argv[1:2]), (_summary, 1, 0))
    if not least <= len(argv) - 2 <= most:
        print(f"expected one of: {', '.join(commands)}, and what to do it with. {__doc__}")
        sys.exit(2)
    try:
        command(*argv[2:])
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"larq_groupnet: {error}", file=sys.stderr)
        sys.exit(2)


def _summary(name: str) -> None:
    from larq_groupnet.network.complexity import format_json, report
    from larq_groupnet.recipes.overrides import parse_options
    from larq_groupnet.registry import arguments, get_config

    config = get_config(name, **parse_options(_SET.value, arguments(name)))
    print(format_json(config) if _JSON.value else report(config))


def _import_checkpoint(path: str) -> None:
    from larq_groupnet.weights.checkpoint import main as import_checkpoint

    import_checkpoint(path, _OUTPUT.value or "weights", _AS.value)


def _convert(run: str) -> None:
    from larq_groupnet.deploy import convert
    from larq_groupnet.runs.saved import describe_run

    output, data_dir = _OUTPUT.value or "model.tflite", Path(_DATA_DIR.value)
    if _INT8.value:
        from larq_groupnet.training.int8 import convert_run

        path = convert_run(run, output, data_dir, samples=_SAMPLES.value, size=_input_size())
    else:
        model, images = _run_and_images(run)
        path = convert(model, output, data=images, description=describe_run(run, data_dir))
    print(f"{path}: verified")


def _audit(target: str) -> None:
    from larq_groupnet.deploy import audit

    findings = audit(target if target.endswith(".tflite") else _run_and_images(target)[0])
    print("\n".join(map(str, findings)) or f"{target}: nothing found")
    if any(finding.severity == "wrong" for finding in findings):
        sys.exit(1)


def _verify(run: str, file: str) -> None:
    from larq_groupnet.deploy import verify

    model, images = _run_and_images(run)
    print(verify(model, file, images, _OUTPUT.value))


def _benchmark(*files: str) -> None:
    from larq_groupnet.deploy.benchmark import main as benchmark

    benchmark(list(files), _RUNS.value)


def _predict(source: str, images: str) -> None:
    from larq_groupnet.inference.predict import predict_files
    from larq_groupnet.inference.sources import load_predictor

    given = {"scales": _scales(), "flip": _FLIP.value, "normalisation": _NORMALISATION.value}
    given = {name: value for name, value in given.items() if value is not None}
    output_dir = _OUTPUT.value or "predictions"
    predictor = load_predictor(source, _DATA_DIR.value, **given)
    done, passed_over = predict_files(predictor, images, output_dir)
    print(f"{done} images predicted, results in {output_dir}; {len(passed_over)} passed over")
    if passed_over:
        sys.exit(1)


def _scales() -> tuple[float, ...] | None:
    given = _SCALES.value
    if given is None:
        return None
    try:
        scales = tuple(float(scale) for scale in given)
    except ValueError:
        scales = (0.0,)
    if not all(0 < scale < math.inf for scale in scales):
        raise ValueError(
            f"--scales: expected factors above 0, such as 0.5,1,1.5. Received: {','.join(given)}"
        )
    return scales


def _run_and_images(path: str) -> tuple[tf.keras.Model, Any]:
    """The network of a run at the wanted size, and test images that it reads."""
    from larq_groupnet.runs.saved import data_of_run, first_images, load_run

    size = _input_size()
    _, data = data_of_run(path, Path(_DATA_DIR.value), size)
    return load_run(path, size=size), first_images(data, "test", _SAMPLES.value)


def _input_size() -> tuple[int, int] | None:
    given = _INPUT_SIZE.value
    if not given:
        return None
    if len(given) != 2 or not all(size.strip().isdecimal() for size in given):
        raise ValueError(f"--input_size: expected height,width. Received: {','.join(given)}")
    return int(given[0]), int(given[1])


def _weights(*words: str) -> None:
    from larq_groupnet.weights import registry

    match words:
        case ("list",):
            print(registry.table(registry.verify()))
        case ("fetch", name, model):
            print("\n".join(map(str, registry.fetch(name, model))))
        case ("verify",):
            states = registry.verify()
            print(registry.table(states))
            if any(state == "damaged" for _, state in states):
                sys.exit(1)
        case ("publish", run, name, *licence):
            from larq_groupnet.weights.publish import publish

            folder = _OUTPUT.value or "weights"
            terms = "".join(licence) or "Not stated: ask whoever published these weights."
            entry = publish(run, name, folder, licence=terms)
            print(f"{folder}/{entry.file}: {entry.size / 2**20:.2f} MiB, card beside it")
        case _:
            raise ValueError(
                "weights: expected list, fetch NAME MODEL, publish RUN NAME [LICENCE] or verify. "
                f"Received: {' '.join(words)!r}"
            )


if __name__ == "__main__":
    app.run(main)
