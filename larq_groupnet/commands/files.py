"""Commands on trained networks, converted files and folders of images."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from absl.flags import FlagValues as Flags

from larq_groupnet.errors import RecipeError
from larq_groupnet.files import check_output
from larq_groupnet.hints import counted

if TYPE_CHECKING:
    import tensorflow as tf


def predict(f: Flags, source: str, *images: str) -> int:
    """Predict class maps, or the likeliest classes, of images."""
    check_output(f.output, folder=True)
    from larq_groupnet.inference.predict import predict_files
    from larq_groupnet.inference.sources import load_predictor

    predictor = load_predictor(
        source, f.data_dir, scales=f.scales, flip=f.flip, normalisation=f.normalisation
    )
    done, skipped = predict_files(
        predictor, [Path(image).expanduser() for image in images], f.output
    )
    print(f"{done} images predicted, results in {f.output}; {len(skipped)} skipped")
    return 1 if skipped else 0


def evaluate(f: Flags, source: str, dataset: str | None = None) -> None:
    """Judge a run, weights or a .tflite on a dataset: metrics, interval, confusion."""
    check_output(f.output, folder=True)
    from larq_groupnet.inference.judge_file import judge_file
    from larq_groupnet.report.table import metrics_table

    results = judge_file(
        source, dataset, f.data_dir, f.split, f.output, f.on_bad_image, f.normalisation
    )
    print(metrics_table(results))
    print(f"{f.output} has evaluation.json, confusion.png and predictions.png.")
    if dataset and (others := results["images_of_other_splits"]) and not f["split"].present:
        print(f"{counted(others, 'image')} not judged; --split=all if no training has seen them.")


def convert(f: Flags, source: str) -> None:
    """Convert a trained network for Larq Compute Engine.

    Also a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    if f.output.suffix != ".tflite":
        raise RecipeError(
            "output: expected a name that ends in .tflite, by which other commands recognise it. "
            f"Received: {f.output}"
        )
    check_output(f.output)
    verified = f"{f.output}: {'replaced and ' * f.output.exists()}verified"
    from larq_groupnet.runs.saved import is_whole_model
    from larq_groupnet.runs.source import find_source

    if is_whole_model(source):
        for name in ("int8", "samples"):
            if f[name].value:
                raise RecipeError(
                    f"{name}: expected a run or its weights, which name their images. Received: "
                    f"{source}, a whole Keras model"
                )
        from larq_groupnet import deploy

        deploy.convert(_whole_model(source, f.input_size), f.output)
        print(f"{verified} on noise; it has no class names or preprocessing")
        return
    own = find_source(source)
    found = own.sized(f.input_size)
    if f.int8:
        from larq_groupnet.training.int8 import convert_run

        path = convert_run(source, f.output, f.data_dir, samples=f.samples or 64, size=f.input_size)
        print(verified)
        if f.input_size in (None, own.config.input_shape[:2]):
            from larq_groupnet.inference.judge_file import cost_of_integers

            print(cost_of_integers(source, path, f.data_dir))
        return
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import data_of, describe, first_images

    # Images are read only if they are asked for.
    data = first_images(data_of(found, f.data_dir), "test", f.samples) if f.samples else None
    deploy.convert(found.load(), f.output, data=data, description=describe(found, f.data_dir))
    print(f"{verified} on {f'{len(data)} test images' if data is not None else 'noise'}")


def audit(f: Flags, source: str) -> int:
    """Name the layers that Larq Compute Engine runs wrongly or slowly, or that learn badly.

    Also of a whole model that Keras has saved: .keras, .h5 or a SavedModel.
    """
    from larq_groupnet import deploy
    from larq_groupnet.runs.saved import is_whole_model
    from larq_groupnet.runs.source import find_source

    size = f.input_size
    if Path(source).suffix == ".tflite":
        if size is not None:
            raise RecipeError(f"input_size: expected none for a converted file. Received: {size}")
        findings = deploy.audit(Path(source).expanduser())
    else:
        whole = is_whole_model(source)
        model = _whole_model(source, size) if whole else find_source(source).sized(size).load()
        findings = [*deploy.audit(model), *deploy.advise(model)]
    print("\n".join(map(str, findings)) or f"{source}: nothing found")
    return 1 if any(finding.severity == "wrong" for finding in findings) else 0


def _whole_model(source: str, size: tuple[int, int] | None) -> tf.keras.Model:
    """A complete model saved by Keras, resized to `size` if one is given."""
    from larq_groupnet.deploy import with_input_shape
    from larq_groupnet.deploy.unshared import check_functional
    from larq_groupnet.runs.saved import load_model

    model = load_model(source)
    check_functional(model, source)
    return with_input_shape(model, (*size, model.input_shape[-1])) if size else model


def verify(f: Flags, source: str, file: str) -> None:
    """Compare a converted file with its network on test images."""
    if f.output is not None:
        check_output(f.output, folder=True)
    from larq_groupnet import deploy
    from larq_groupnet.deploy.description import read_description
    from larq_groupnet.runs.identity import check_classes
    from larq_groupnet.runs.saved import data_of, first_images
    from larq_groupnet.runs.source import find_source

    found, path = find_source(source).sized(f.input_size), Path(file).expanduser()
    names = (read_description(path) or {}).get("classes", ())
    check_classes(found.classes, names, source, file)
    images = first_images(data_of(found, f.data_dir), "test", f.samples)
    print(deploy.verify(found.load(), path, images, f.output))


def check(f: Flags, dataset: str) -> int:
    """Decode every image of a folder once, and cache the findings for training.

    DATASET is folder:PATH, or another --dataset whose files are in a folder.
    """
    from larq_groupnet.data.folders import FolderDataset
    from larq_groupnet.data.pipeline import open_dataset

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*left out ")  # Printed below.
        found = open_dataset(dataset, f.data_dir)
    if not isinstance(found, FolderDataset):
        raise RecipeError(
            f"check: expected a dataset whose files are in a folder, such as folder:PATH. "
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


def weights(f: Flags, *words: str) -> int:
    """Show, fetch, verify or publish weights.

    list; fetch NAME MODEL; verify; publish RUN_OR_FILE NAME [LICENCE]
    """
    from larq_groupnet.weights import registry

    for name in ("output", "test_images", "command"):
        if f[name].present and words[:1] != ("publish",):
            raise RecipeError(f"{name}: expected with publish only. Received: {' '.join(words)}")
    match words:
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

            check_output(f.output, folder=True)
            entry = publish(
                run, name, f.output,
                licence="".join(licence), command=f["command"].value, test_images=f.test_images,
            )  # fmt: skip
            print(f"{f.output}/{entry.file}: {entry.size / 2**20:.2f} MiB, with its card")
        case _:
            raise RecipeError(
                "weights: expected list, fetch NAME MODEL, verify or publish RUN_OR_FILE NAME "
                f"[LICENCE]. Received: {' '.join(words)}"
            )
    return 0


def benchmark(f: Flags, *files: str) -> None:
    """Measure latency, memory and operations of converted files on this machine."""
    from larq_groupnet.deploy.benchmark import main

    main([os.path.expanduser(file) for file in files], f.runs)


def import_checkpoint(f: Flags, file: str) -> None:
    """Turn a checkpoint of Group-Net's authors into weights of this package."""
    from larq_groupnet.recipes.overrides import parse_options
    from larq_groupnet.weights.checkpoint import main

    rates = {"atrous_rates": f.atrous_rates, "first_rates": f.first_rates}
    main(
        file,
        f.output,
        f["as"].value,
        classes_file=f.classes,
        input_shape=f.input_size and (*f.input_size, 3),
        dataset=f.dataset,
        normalisation=f.normalisation,
        central_crop=f.central_crop,
        shared_shortcut=f.shared_shortcut,
        **parse_options([(name, text) for name, text in rates.items() if text]),
    )
