"""Writes networks, samples and what LCE's interpreter computes for them, to compare other machines.

    python networks.py FOLDER [--large]

needs larq-groupnet with its converter. `same.py FOLDER` then compares wherever this package runs.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# First, because it chooses TensorFlow's Keras.
import larq_groupnet  # isort: split

import larq_compute_engine as lce
import numpy as np
import tensorflow as tf
from engines import reference
from larq_groupnet.deploy import fold, quantize
from larq_groupnet.deploy.description import with_description
from larq_groupnet.deploy.export import to_tflite
from random_ops import RandomFile

SAMPLES = 4
FUZZ_FILES, FUZZ_OPERATIONS = 4, 50


def write(folder: Path, name: str, content: bytes, description: dict | None = None) -> None:
    """A file, noise for it, and LCE's output by its reference kernel."""
    interpreter = lce.testing.Interpreter(content, num_threads=1, use_reference_bconv=True)
    x = np.random.default_rng(0).standard_normal((SAMPLES, *interpreter.input_shapes[0][1:]))
    x = x.astype(np.float32)
    expected = np.asarray(interpreter.predict(x), np.float32)
    if description:
        content = with_description(content, description)
    (folder / f"{name}.tflite").write_bytes(content)
    np.savez(folder / f"{name}.npz", x=x, expected=expected)
    print(f"{name}: {len(content) / 2**20:.2f} MiB", flush=True)


def trained(model: tf.keras.Model) -> tf.keras.Model:
    """The model with normalisations that differ from each other, as after training."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def fuzz(folder: Path) -> None:
    """Files of random operations, and the bits that LCE's reference kernels compute."""
    for seed in range(FUZZ_FILES):
        file = RandomFile(np.random.default_rng(1000 + seed))
        for _ in range(FUZZ_OPERATIONS):
            file.add_random()
        content = file.builder.finish()
        (folder / f"fuzz_{seed}.tflite").write_bytes(content)
        outputs = reference(content, file.inputs)
        arrays = {f"input_{i:02}": array for i, array in enumerate(file.inputs)}
        arrays |= {f"output_{i:02}": array for i, array in enumerate(outputs)}
        np.savez(folder / f"fuzz_{seed}.npz", **arrays)


def main(folder: Path, large: bool) -> None:
    """Writes random operations, the shipped networks, small ones, and on demand a large one."""
    folder.mkdir(parents=True, exist_ok=True)
    fuzz(folder)
    names = ["background", *map(str, range(10))]
    labels = {"classes": names[1:], "preprocessing": {"normalisation": "symmetric"}}
    dense = {"classes": names, "preprocessing": {"normalisation": "symmetric"}}
    digits = larq_groupnet.GroupNetResNet18(weights="digits")
    write(folder, "digits", to_tflite(fold(digits)), labels)
    scenes = larq_groupnet.GroupNetDSP(weights="digit_scenes")
    write(folder, "digit_scenes", to_tflite(fold(scenes)), dense)
    small = {"num_classes": 5, "num_bases": 2, "width": 0.125, "input_shape": (64, 64, 3)}
    for decomposition in ("layer", "group"):
        config = larq_groupnet.GroupNetConfig(
            decomposition=decomposition, head="fcn32s", stage_blocks=(1, 1, 1, 1), **small
        )
        model = trained(larq_groupnet.build(config))
        write(folder, decomposition, to_tflite(fold(model)))
    data = np.random.default_rng(0).standard_normal((8, 64, 64, 3)).astype(np.float32)
    config = larq_groupnet.GroupNetConfig(stage_blocks=(1, 1, 1, 1), **small)
    int8 = quantize(trained(larq_groupnet.build(config)), data)
    write(folder, "int8", to_tflite(int8))
    if large:
        model = larq_groupnet.GroupNetResNet18(input_shape=(224, 224, 3), weights=None)
        content = to_tflite(fold(trained(model)))
        (folder / "large").mkdir(exist_ok=True)
        (folder / "large" / "groupnet_resnet18_k5.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--large" in sys.argv)
