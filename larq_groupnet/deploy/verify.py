"""Checks that a converted file computes what the Keras model computes.

Outputs alone do not tell rounding from an error (see `signs`). So Keras runs twice: freely, and on
the signs that the file computed. The rule has no exceptions:

* Flipped signs are rounding if their values are within `SIGN_TOLERANCE` RMS of 0 (or of the
  quantizer's nearest threshold), at most `MOST_ROUNDED` of the layer's values flip farther away
  than `NEAR`, and at most `MOST_FLIPS` flip in all, not counting ties (`TIE`).
* The file's signs equal the signs that the model computes from the file's own numbers.
* On the file's signs, outputs agree within `OUTPUT_TOLERANCE` of the largest output, and so do
  logarithms of probabilities: the probabilities of a confident softmax hide a difference.

Anything else is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import ConversionError, File, Runner, read
from larq_groupnet.deploy.runtime import second_opinion
from larq_groupnet.deploy.samples import check_samples
from larq_groupnet.deploy.signs import MOST_FLIPS, MOST_ROUNDED, NEAR, SIGN_TOLERANCE, SignsOfFile
from larq_groupnet.deploy.unshared import check_functional, unshared
from larq_groupnet.files import check_output, replacing, write_json

Array = NDArray[np.float32]

OUTPUT_TOLERANCE = 1e-2
"""Largest allowed difference of outputs on the same signs, relative to Keras' largest output.

LCE's float32 sums (see `signs`) affect the head, too: in a trained classifier whose last
normalisations multiply by 350, a probability of 0.663 was off by 0.0028 without a flipped sign.
"""

LEAST_PROBABILITY = 1e-6
"""Smaller probabilities count as this."""


@dataclass(frozen=True)
class Verification:
    """How a file compares with its Keras model.

    Attributes:
        agreement: Share of positions with the same arg-max over the last axis.
        worst_error: Largest absolute difference of outputs, in units of the outputs.
        mean_error: Mean absolute difference of outputs.
        samples: Number of inputs compared.
        first_flip: The layer at which the first sign flips; the first wrong flip if there is one.
        verdict: `"equal"` (no sign flips), `"rounding"` or `"wrong"`.
        explanation: The reason for the verdict.
        runtime: Share of positions where larq-groupnet-runtime and LCE's interpreter give the same
            class; `None` if the runtime is not installed.
    """

    agreement: float
    worst_error: float
    mean_error: float
    samples: int
    first_flip: str | None
    verdict: str
    explanation: str
    runtime: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.explanation}. On {self.samples} samples: same arg-max in "
            f"{self.agreement:.3%}, worst error {self.worst_error:.3g}, mean error "
            f"{self.mean_error:.3g}."
        )


class VerificationError(ConversionError):
    """The file and the model disagree; `verification` has the details."""

    def __init__(self, verification: Verification):
        self.verification = verification
        super().__init__(
            "expected a file that computes what the model computes, up to rounding. Received: "
            f"{verification} Do not deploy it; audit(model, file) names what LCE gets wrong."
        )


def verify(
    model: tf.keras.Model, file: File, data: Array, output_dir: str | Path | None = None
) -> Verification:
    """Compares a file in LCE's interpreter with the Keras model that it was made from.

    Args:
        model: A model with one input and one output; its quantizers are replaced while it runs.
        file: Its `.tflite`, or the content of the file.
        data: Real samples `(n, height, width, channels)` in the model's input format: preprocessed
            float32, or uint8 for a model that normalises images itself.
        output_dir: Where to write `input.bin` (in the file's input type), `expected_output.bin`
            (computed by the file here), both raw and little-endian, and `verify.json`, which
            describes them, to repeat the comparison on a device.

    Returns:
        The comparison, with verdict `"equal"` or `"rounding"`.

    Raises:
        VerificationError: If the file is wrong; then nothing is written.
        ConversionError: If the samples do not fit the file, LCE does not load it, or the model is
            not built.
        OutputError: If `output_dir` cannot be a folder.
    """
    if not getattr(model, "built", False):  # A subclassed model runs as well.
        check_functional(model, "verify")
    folder = None if output_dir is None else check_output(output_dir, folder=True)
    content = read(file)
    runner = Runner(content)
    data = check_samples(data, runner.shape[1:], runner.dtype, "data")
    on_signs_of_file = SignsOfFile(unshared(model), content)
    results: list[list[Array]] = [[], [], []]
    for batch, count in _batches(data, runner.shape[0]):
        outputs = model(batch, training=False).numpy(), runner(batch)[0], on_signs_of_file(batch)
        for found, output in zip(results, outputs, strict=True):
            found.append(output[:count])
    expected, received, on_signs = (np.concatenate(found) for found in results)
    if expected.shape != received.shape:
        raise ConversionError(
            f"verify: expected a file of this model, whose output is {expected.shape[1:]}. "
            f"Received: one with the output {received.shape[1:]}"
        )
    verification = _judge(expected, received, on_signs, on_signs_of_file)
    second = second_opinion(content, data)
    if second is not None:
        verification = _compared(verification, received, second)
    if verification.verdict == "wrong":
        raise VerificationError(verification)
    if folder is not None:
        _write(folder, content, data, received, verification)
    return verification


def _batches(data: Array, size: int) -> Iterator[tuple[Array, int]]:
    """Batches of the file's size, each with its number of real samples; the last is padded."""
    for start in range(0, len(data), size):
        batch = data[start : start + size]
        filler = np.repeat(batch[-1:], size - len(batch), axis=0)
        yield np.concatenate([batch, filler]), len(batch)


def _judge(expected: Array, received: Array, on_signs: Array, run: SignsOfFile) -> Verification:
    error = np.abs(received - expected)
    flipped = [name for name, flips in run.flips.items() if flips.flipped]
    wrong = [name for name in flipped if run.flips[name].wrong]
    first = next(iter(wrong or flipped), None)
    # Without flips the model itself must agree, whatever its copy on the file's signs computes.
    remaining = _difference(expected, received, on_signs if flipped else expected)
    # Not `>`: NaN is wrong, too.
    differs = not remaining <= OUTPUT_TOLERANCE
    if wrong:
        verdict, text = "wrong", _wrong_signs(wrong[0], run)
    elif differs:
        verdict = "wrong"
        text = (
            "outputs, or the logarithms of probabilities, differ by "
            f"{remaining:.2g} of the largest, and no flipped sign explains it"
        )
    elif flipped:
        verdict = "rounding"
        flips = [run.flips[name] for name in flipped]
        text = (
            f"{sum(f.flipped for f in flips)} of {sum(f.values for f in run.flips.values())} signs "
            f"flip, first at {first}, the farthest {max(f.distance for f in flips):.1g} from 0 "
            f"(in root mean squares; {SIGN_TOLERANCE} is allowed)"
        )
    else:
        verdict, text = "equal", "no sign flips"
    if run.not_compared:
        text += f"; not in the file, so not compared: {', '.join(sorted(run.not_compared))}"
    return Verification(
        agreement=float(np.mean(received.argmax(-1) == expected.argmax(-1))),
        worst_error=float(error.max()),
        mean_error=float(error.mean()),
        samples=len(expected),
        first_flip=first,
        verdict=verdict,
        explanation=text,
    )


def _difference(expected: Array, received: Array, on_signs: Array) -> float:
    """Largest relative difference of outputs, or log-probabilities, on the same signs."""
    found = np.abs(received - on_signs).max() / (np.abs(expected).max() or 1.0)
    if not (expected.min() >= 0 and np.allclose(expected.sum(-1), 1, atol=1e-3)):
        return float(found)
    logs, ours, theirs = (
        np.log(np.maximum(x, LEAST_PROBABILITY)) for x in (expected, received, on_signs)
    )
    return float(max(found, np.abs(ours - theirs).max() / (np.abs(logs).max() or 1.0)))


def _compared(verification: Verification, received: Array, second: Array) -> Verification:
    """Compares with the second engine, which may differ only where signs flip."""
    same = float(np.mean(second.argmax(-1) == received.argmax(-1)))
    difference = float(np.median(np.abs(second - received)) / (np.abs(received).max() or 1.0))
    found = replace(verification, runtime=same)
    if verification.verdict == "wrong" or difference <= OUTPUT_TOLERANCE:
        return found
    text = (
        "half of the outputs of larq-groupnet-runtime differ from LCE's interpreter by "
        f"{difference:.2g} of the largest or more"
    )
    return replace(found, verdict="wrong", explanation=text)


def _wrong_signs(name: str, run: SignsOfFile) -> str:
    flips = run.flips[name]
    if flips.misread:
        return (
            f"{flips.misread} of the {flips.values} signs that {name} reads contradict the file's "
            "own numbers, so the file quantizes differently from the model"
        )
    return (
        f"{flips.flipped} of the {flips.values} signs that {name} reads flip (at most "
        f"{MOST_FLIPS:.0%} may), {flips.far} of them farther than {NEAR} root mean squares from 0 "
        f"(at most {MOST_ROUNDED:.1%} may) and {flips.beyond} farther than {SIGN_TOLERANCE} (none "
        "may), so something is converted wrongly between the sign before and this one"
    )


def _write(
    folder: Path, content: bytes, data: Array, received: Array, verification: Verification
) -> None:
    files = {"input.bin": data, "expected_output.bin": received}
    description = {
        "tflite_sha256": hashlib.sha256(content).hexdigest(),
        "files": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name, "byte_order": "little"}
            for name, array in files.items()
        },
        "verification": asdict(verification),
    }
    for name, array in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())
    write_json(folder / "verify.json", description)
