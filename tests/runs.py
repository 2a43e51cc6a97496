"""What tests of whole runs share: a process that is watched, and the weights that it left."""

import re

import h5py


def wait_for(process, pattern):
    """Reads the screen of a process until it matches; the progress bar comes in characters."""
    seen = ""
    while not re.search(pattern, seen):
        character = process.stdout.read(1)
        assert character, seen + process.stderr.read()
        seen += character


def read_weights(path):
    """Every array of an `.h5` file, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return found
