"""Effects on other packages: legacy Keras, TFDS datasets, and quiet commands."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType
from typing import Any

import absl.logging
import wrapt

MINORS = range(16, 22)
"""The minor versions of TensorFlow 2 that are supported."""

_LEGACY = ("1", "true", "True")
"""Values of TF_USE_LEGACY_KERAS that TensorFlow reads as true."""


def use_legacy_keras() -> None:
    """Makes `tf.keras` legacy Keras. Imports nothing.

    Raises:
        ImportError: If TensorFlow and tf_keras are not a supported pair, or if `tf.keras` is
            already Keras 3. The message is one line.
    """
    _check_versions()
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        received = os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        if received not in _LEGACY:
            raise ImportError(
                "larq_groupnet: expected TF_USE_LEGACY_KERAS=1, because Larq does not work with "
                f"Keras 3. Received: TF_USE_LEGACY_KERAS={received}. Unset it."
            )
    elif not tensorflow.keras.Model.__module__.startswith("tf_keras."):
        raise ImportError(
            "larq_groupnet: expected TensorFlow with legacy Keras, because Larq does not work with "
            "Keras 3. Received: TensorFlow already imported with Keras 3. Restart Python (in a "
            "notebook, the kernel) and import larq_groupnet first, or set TF_USE_LEGACY_KERAS=1 "
            "before."
        )


def _check_versions() -> None:
    found = {}
    for package in ("tensorflow", "tf_keras"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    if not found["tensorflow"]:
        return  # Another build, such as tensorflow-cpu. Importing it shows whether it works.
    minors = {".".join(version.split(".")[:2]) for version in found.values()}
    if len(minors) == 1 and minors <= {f"2.{minor}" for minor in MINORS}:
        return
    received = " with ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    raise ImportError(
        f"larq_groupnet: expected TensorFlow 2.{MINORS[0]} to 2.{MINORS[-1]} with tf_keras of "
        f"the same minor version. Received: {received}. Run `pip install 'tensorflow==2.21.*' "
        "'tf_keras==2.21.*'`."
    )


def when_imported() -> None:
    """Adapts TensorFlow, TFDS and keras-tuner when they are imported."""
    rules = "tensorflow.python.autograph.core.config"
    wrapt.register_post_import_hook(_trace_keras_as_written, rules)
    wrapt.register_post_import_hook(_register_datasets, "tensorflow_datasets")
    wrapt.register_post_import_hook(_tune_legacy_keras, "keras_tuner.src.backend.config")


def _trace_keras_as_written(config: ModuleType) -> None:
    """Stops older AutoGraphs from rewriting `tf_keras`, which takes half of a short run."""
    keras = config.DoNotConvert("tf_keras")
    if all(rule._prefix != keras._prefix for rule in config.CONVERSION_RULES):
        config.CONVERSION_RULES = (keras, *config.CONVERSION_RULES)  # type: ignore[attr-defined]


def _register_datasets(_: ModuleType) -> None:
    for module in ("digits", "digit_scenes", "voc"):
        importlib.import_module(f"larq_groupnet.data.{module}")


def _tune_legacy_keras(config: ModuleType) -> None:
    """Stops keras-tuner from using the package `keras`, which is Keras 3."""
    if "keras_tuner.src.backend.keras" not in sys.modules:  # Otherwise it has chosen already.
        config._MULTI_BACKEND = False  # type: ignore[attr-defined]


def quiet() -> None:
    """Hides log messages of TensorFlow, Keras and TFDS.

    Does nothing if TF_CPP_MIN_LOG_LEVEL is set or TensorFlow is imported already. For command
    lines only: a library would hide the errors of other people's code.
    """
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ and "tensorflow" not in sys.modules:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        sys.meta_path.insert(0, _QuietImport())
        absl.logging.set_verbosity(absl.logging.ERROR)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


class _QuietImport(importlib.abc.MetaPathFinder):
    """Imports TensorFlow silently: 2.21 ignores the log level during its import.

    Also keeps the garbage collector from scanning the half million objects that TensorFlow creates
    and never frees: that would take a fifth of the import, and more time later.
    """

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Finds only `tensorflow`, once, as Python would without this finder."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                gc.disable()
                try:
                    with _stderr_held_back():
                        execute(module)
                finally:
                    gc.freeze()
                    gc.enable()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Drops output to standard error, from C++ too, or shows it all if an error is raised."""
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
