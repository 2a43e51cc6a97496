"""Checks that this machine computes the same results as the desktop.

`larq_groupnet.deploy.verify(model, file, samples, output_dir=FOLDER)` writes the samples and the
outputs; `check` runs the samples again.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet_runtime.errors import InputError, count, one_line
from larq_groupnet_runtime.files import opened
from larq_groupnet_runtime.images import Array
from larq_groupnet_runtime.interpreter import Interpreter

LEAST_AGREEMENT = 0.999
"""Share of images or pixels that must get the desktop's class."""


def check(network: Interpreter, model: Path, folder: Path) -> int:
    """Runs the samples of a folder, prints one line, and returns 0 if the classes are the same.

    Another processor rounds the real-valued layers differently, which may flip a sign near 0 and
    slightly change later layers. So only the class of each image or pixel is compared.

    Raises:
        InputError: If the folder is none that `verify` has written, or is of another file.
        OSError: If a file of it cannot be read.
    """
    facts = _facts(folder / "verify.json")
    digest = hashlib.sha256(model.expanduser().read_bytes()).hexdigest()
    if facts.get("tflite_sha256") != digest:
        raise InputError(
            f"{folder}: expected the folder that verify wrote for {model}, whose SHA-256 is "
            f"{digest[:12]}... Received: one for {str(facts.get('tflite_sha256'))[:12]}..."
        )
    samples = _read(folder / "input.bin", network.inputs[0].shape)
    expected = _read(folder / "expected_output.bin", network.outputs[0].shape)
    if len(samples) != len(expected) or not len(samples):
        raise InputError(
            f"{folder}: expected as many outputs as inputs. Received: "
            f"{count(len(samples), 'input')} and {count(len(expected), 'output')}"
        )
    received = network.predict(samples)
    received = received[0] if isinstance(received, list) else received
    same = received.argmax(-1) == expected.argmax(-1)
    difference = float(np.abs(received - expected).max())
    agrees = float(same.mean()) >= LEAST_AGREEMENT and math.isfinite(difference)
    print(
        f"{'equal' if agrees else 'DIFFERENT'}: {same.sum()} of {same.size} positions of "
        f"{count(len(samples), 'sample')} have the class of the desktop; largest difference "
        f"{difference:.3g}, largest output {float(np.abs(expected).max()):.3g}"
    )
    return 0 if agrees else 1


def _facts(path: Path) -> dict[str, Any]:
    with opened(path, "JSON")[1] as file:
        try:
            facts = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: expected JSON. Received: {one_line(error)}") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: expected an object. Received: {type(facts).__name__}")
    return facts


def _read(path: Path, shape: tuple[int, ...]) -> Array:
    with opened(path, "float32 samples")[1] as file:
        values = np.fromfile(file, "<f4")
    if len(values) % math.prod(shape[1:]):
        raise InputError(
            f"{path}: expected float32 samples of shape {shape[1:]}. Received: {len(values)} values"
        )
    return values.reshape(-1, *shape[1:])
