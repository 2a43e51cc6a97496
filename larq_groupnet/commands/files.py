"""Commands on trained networks, converted files and folders of images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from larq_groupnet.errors import RecipeError
from larq_groupnet.hints import counted


def predict(
    source: str,
    images: Collection[str],
    output: Path,
    data_dir: Path,
    scales: str | None,
    asked: Mapping[str, Any],
) -> int:
    """The command `predict`; 1 if an image was passed over."""
    sides = None if scales is None else _scales(scales)
    from larq_groupnet.inference.predict import predict_files
    from larq_groupnet.inference.sources import load_predictor

    predictor = load_predictor(source, data_dir, scales=sides, **asked)
    done, passed_over = predict_files(
        predictor, [Path(image).expanduser() for image in images], output
    )
    print(f"{done} images predicted, results in {output}; {len(passed_over)} passed over")
    return 1 if passed_over else 0


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(map(float, text.split(",")))
    except ValueError:
        scales = (0.0,)
    if not all(0 < scale < math.inf for scale in scales):
        raise RecipeError(f"scales: expected factors above 0, such as 0.5,1,1.5. Received: {text}")
    return scales


def evaluate(
    source: str,
    dataset: str | None,
    data_dir: Path,
    split: str,
    output: Path | None,
    on_bad_image: str | None,
    normalisation: str | None = None,
) -> None:
    """The command `evaluate`."""
    from larq_groupnet.inference.judge_file import judge_file
    from larq_groupnet.report.table import metrics_table

    results = judge_file(source, dataset, data_dir, split, output, on_bad_image, normalisation)
    print(metrics_table(results))
    if output is not None:
        print(f"{output} has evaluation.json, confusion.png and predictions.png.")


def convert(
    source: str,
    output: Path,
    data_dir: Path,
    size: tuple[int, int] | None,
    samples: int | None,
    int8: bool,
) -> None:
    """The command `convert`. Images are read only for integers, or if `samples` are asked for."""
    from larq_groupnet.runs.saved import is_whole_model, load_whole_model
    from larq_groupnet.runs.source import find_source

    if not int8 and is_whole_model(source):
        from larq_groupnet import deploy

        shape = (*size, 3) if size else None
        path = deploy.convert(load_whole_model(source), output, input_shape=shape)
        print(f"{path}: verified on noise; it does not say its classes or how to read an image")
        return
    own = find_source(source)
    found = own.sized(size)
    if int8:
        from larq_groupnet.training.int8 import convert_run

        path = convert_run(source, output, data_dir, samples=samples or 64, size=size)
        print(f"{path}: verified")
        if size in (None, own.config.input_shape[:2]):
            from larq_groupnet.inference.judge_file import cost_of_integers

            print(cost_of_integers(source, path, data_dir))
        return
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import data_of, describe, first_images

    images = first_images(data_of(found, data_dir), "test", samples) if samples else None
    description = describe(found, data_dir)
    path = deploy.convert(found.load(), output, data=images, description=description)
    print(f"{path}: verified on {f'{len(images)} test images' if images is not None else 'noise'}")


def audit(source: str, size: tuple[int, int] | None) -> int:
    """The command `audit`; 1 if something is wrong."""
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import is_whole_model, load_whole_model
    from larq_groupnet.runs.source import find_source

    if Path(source).suffix == ".tflite":
        if size is not None:
            raise RecipeError(f"input_size: expected none for a converted file. Received: {size}")
        findings = deploy.audit(Path(source).expanduser())
    else:
        whole = is_whole_model(source)
        model = load_whole_model(source) if whole else find_source(source).sized(size).load()
        findings = [*deploy.audit(model), *deploy.advise(model)]
    print("\n".join(map(str, findings)) or f"{source}: nothing found")
    return 1 if any(finding.severity == "wrong" for finding in findings) else 0


def verify(
    source: str,
    file: str,
    output: Path | None,
    data_dir: Path,
    size: tuple[int, int] | None,
    samples: int,
) -> None:
    """The command `verify`."""
    from larq_groupnet import deploy
    from larq_groupnet.deploy.description import read_description
    from larq_groupnet.runs.identity import check_classes
    from larq_groupnet.runs.saved import data_of, first_images
    from larq_groupnet.runs.source import find_source

    found, path = find_source(source).sized(size), Path(file).expanduser()
    names = (read_description(path) or {}).get("classes", ())
    check_classes(found.classes, names, source, file)
    images = first_images(data_of(found, data_dir), "test", samples)
    print(deploy.verify(found.load(), path, images, output))


def check(dataset: str, data_dir: Path) -> int:
    """The command `check`; 1 if a file is bad."""
    from larq_groupnet.data.folders import FolderDataset
    from larq_groupnet.data.pipeline import open_dataset

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*left out ")  # Printed below.
        found = open_dataset(dataset, data_dir)
    if not isinstance(found, FolderDataset):
        raise RecipeError(
            f"check: expected a dataset whose files lie in a folder, such as folder:PATH. "
            f"Received: {dataset}, whose records were checked as they were written."
        )
    counts = ", ".join(f"{role} {size}" for role, size in found.sizes.items())
    print(f"{found.name}: {len(found.classes)} classes; {counts}")
    if found.left_out:
        print(f"left out: {found.left_out}")
    bad = found.look_again().bad
    for file, reason in bad.items():
        print(f"{file}: {reason}")
    advice = f"; --on_bad_image=skip leaves {'it' if len(bad) == 1 else 'them'} out" if bad else ""
    print(counted(len(bad), "bad file") + advice)
    return 1 if bad else 0


def weights(words: Collection[str], output: Path, test_images: bool = True) -> int:
    """The command `weights`; 1 if a file is damaged."""
    from larq_groupnet.weights import registry

    match tuple(words):
        case ("list",):
            print(registry.table(registry.verify()))
        case ("fetch", name, model):
            print("\n".join(map(str, registry.fetch(name, model))))
        case ("verify",):
            states = registry.verify()
            print(registry.table(states))
            return 1 if any(state == "damaged" for _, state in states) else 0
        case ("publish", run, name, *licence):
            from larq_groupnet.training.publish import publish

            entry = publish(run, name, output, licence="".join(licence), test_images=test_images)
            print(f"{output}/{entry.file}: {entry.size / 2**20:.2f} MiB, card beside it")
        case _:
            raise RecipeError(
                "weights: expected list, fetch NAME MODEL, verify or publish RUN_OR_FILE NAME "
                f"[LICENCE]. Received: {' '.join(words)}"
            )
    return 0
