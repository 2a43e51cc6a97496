"""The TFLite interpreters that pip installs."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, NamedTuple

from larq_groupnet_runtime.errors import InputError, one_line

# Name -> module with the class Interpreter, distributions that may provide it.
_BACKENDS = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", ("ai-edge-litert", "ai-edge-litert-nightly")),
    "tflite-runtime": ("tflite_runtime.interpreter", ("tflite-runtime", "tflite-runtime-nightly")),
    "tensorflow": ("tensorflow.lite", ("tensorflow", "tensorflow-cpu", "tf-nightly")),
}
NAMES = tuple(_BACKENDS)


class Backend(NamedTuple):
    """A TFLite interpreter: its name, its version and its class."""

    name: str
    version: str
    interpreter: Any


def find_backend(name: str | None = None) -> Backend:
    """The named interpreter, or the first installed one of `NAMES`.

    Raises:
        InputError: If no interpreter, or not the named one, is installed and can be imported.
    """
    if name is not None and name not in NAMES:
        raise InputError(f"backend: expected one of {', '.join(NAMES)}. Received: {name!r}")
    reasons = []
    for candidate in NAMES if name is None else [name]:
        module, distributions = _BACKENDS[candidate]
        try:
            # tensorflow.lite is an attribute that exists only after importing tensorflow.
            found = importlib.import_module(module.split(".")[0])
            for part in module.split(".")[1:]:
                found = getattr(found, part, None) or importlib.import_module(module)
            return Backend(candidate, _version(distributions), found.Interpreter)
        except ModuleNotFoundError as error:
            if error.name != module.split(".")[0]:
                reasons.append(f"{candidate} does not import: {one_line(error)}")
        except Exception as error:  # A wheel for another NumPy or C library can raise anything.
            reasons.append(f"{candidate} does not import: {one_line(error)}")
    raise InputError(
        f"expected {name or 'ai-edge-litert, tflite-runtime or tensorflow'} in this environment: "
        f"run `pip install {name or 'ai-edge-litert'}`. Received: "
        f"{'; '.join(reasons) or 'not installed'}"
    )


def _version(distributions: tuple[str, ...]) -> str:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"
