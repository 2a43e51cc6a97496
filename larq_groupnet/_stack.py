"""Says in one sentence when the installed TensorFlow or Keras is one that Larq cannot use."""

import os
from importlib import metadata

_NEEDED = {"tensorflow": "2.15.", "keras": "2.15."}


def check_stack() -> None:
    """Raises ImportError unless TensorFlow 2.15 and Keras 2.15 are installed; imports neither."""
    found = {}
    for package in _NEEDED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # A build of TensorFlow under another name (tensorflow-cpu); importing it will tell.
            continue
    if any(not version.startswith(_NEEDED[package]) for package, version in found.items()):
        received = " with ".join(f"{package} {version}" for package, version in found.items())
        raise ImportError(
            "larq_groupnet needs TensorFlow 2.15 with Keras 2.15, because Larq does not work with "
            f"Keras 3; found {received}: run `pip install 'tensorflow==2.15.1' 'keras==2.15.0'`."
        )


def quiet() -> None:
    """Keeps TensorFlow's remarks off the screen. Errors, and what the user has set, stay.

    A command line calls this before TensorFlow is imported. A library must not: it would hide the
    errors of other people's code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
