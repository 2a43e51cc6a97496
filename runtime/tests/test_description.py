"""What a file says of itself is read in bounded memory, checked, or refused in one line."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from conftest import CLASSES, rewritten
from larq_groupnet_runtime import InputError, Interpreter
from larq_groupnet_runtime.description import Description, read_description

FLAT = b"\x1c\0\0\0TFL3" + bytes(100)
GOOD = {
    "classes": CLASSES,
    "preprocessing": {
        "size": [32, 32],
        "normalisation": "imagenet",
        "central_crop": 0.875,
        "scales": [0.5, 1.0],
        "flip": True,
    },
}


def test_description_of_the_main_package_is_read():
    from larq_groupnet.deploy.description import with_description

    found = read_description(with_description(FLAT, GOOD))
    assert found == Description(tuple(CLASSES), "imagenet", 0.875, (0.5, 1.0), True)


@pytest.mark.parametrize(
    "content", [FLAT, FLAT + b"PK\x03\x04 no archive"], ids=["none", "remains"]
)
def test_without_a_description_nothing_is_known(content):
    assert read_description(content) == Description()


def test_names_may_have_the_joiners_that_their_script_needs():
    names = ["\u0645\u06cc\u200c\u062e", "a\u00a0b", "\U0001f468\u200d\U0001f373"]
    assert read_description(rewritten(FLAT, {"classes": names})).classes == tuple(names)


def test_another_archive_is_no_description():
    import io

    file = io.BytesIO(FLAT)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert read_description(file.getvalue()) == Description()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ([], "an object"),
        ({"classes": "cat"}, "classes: a list of names"),
        ({"classes": ["cat", 3]}, "a class name that can be printed. Received: 3"),
        ({"classes": ["\x1b[2Jcat"]}, "a class name that can be printed"),
        ({"preprocessing": 3}, "preprocessing: an object"),
        ({"preprocessing": {"rotated": True}}, "Install the newest version"),
        ({"preprocessing": {"normalisation": "mean"}}, "normalisation: symmetric or imagenet"),
        ({"preprocessing": {"normalisation": ["imagenet"]}}, "normalisation: symmetric or"),
        ({"preprocessing": {"central_crop": 0}}, "central_crop: a number in (0, 1]"),
        ({"preprocessing": {"central_crop": float("nan")}}, "central_crop: a number"),
        ({"preprocessing": {"scales": 1.0}}, "scales: at most 16 numbers"),
        ({"preprocessing": {"scales": [1e9]}}, "scales: at most 16 numbers"),
        ({"preprocessing": {"scales": [1.0] * 17}}, "scales: at most 16 numbers"),
        ({"preprocessing": {"flip": 1}}, "flip: true or false"),
        ({"temperature": 0}, "temperature: a number above 0"),
        ({"temperature": float("inf")}, "temperature: a number above 0"),
        ("{", "the description that larq-groupnet writes"),
        (b"\xff\xfe", "the description that larq-groupnet writes"),
        ("[" * 100_000, "the description that larq-groupnet writes"),
    ],
)
def test_wrong_value_is_refused_in_one_line(change, expected):
    with pytest.raises(InputError) as caught:
        read_description(rewritten(FLAT, change))
    message = str(caught.value)
    assert expected in message
    assert "Received: " in message and "\n" not in message and len(message) < 400


def test_mutated_description_is_read_or_refused():
    rng = np.random.default_rng(0)
    text = json.dumps(GOOD).encode()
    kinds = set()
    for _ in range(3000):
        mutated = bytearray(text)
        for _ in range(rng.integers(1, 5)):
            place = rng.integers(len(mutated))
            if rng.random() < 0.5:
                mutated[place] = rng.integers(256)
            else:
                del mutated[place : place + rng.integers(1, 9)]
        kinds.add(_outcome(rewritten(FLAT, bytes(mutated))))
    assert kinds == {"read", "refused"}


def test_mutated_archive_is_read_or_refused():
    rng = np.random.default_rng(0)
    whole = rewritten(FLAT, GOOD)
    kinds = set()
    for _ in range(3000):
        mutated = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            mutated[rng.integers(len(FLAT), len(mutated))] = rng.integers(256)
        kinds.add(_outcome(bytes(mutated[: rng.integers(len(FLAT), len(mutated) + 1)])))
    assert kinds == {"read", "refused"}


def _outcome(content):
    try:
        read_description(content)
    except InputError as error:
        return "refused" if "\n" not in str(error) else str(error)
    return "read"


@pytest.mark.parametrize(("method", "mebibytes"), [("ZIP_DEFLATED", 600), ("ZIP_LZMA", 1)])
def test_description_that_unpacks_to_too_much_is_refused_in_little_memory(
    tmp_path, method, mebibytes
):
    path = tmp_path / "bomb.tflite"
    path.write_bytes(FLAT)
    with (
        zipfile.ZipFile(path, "a", getattr(zipfile, method), compresslevel=1) as archive,
        archive.open("larq_groupnet.json", "w", force_zip64=True) as stream,
    ):
        for _ in range(mebibytes):
            stream.write(bytes(2**20))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "from larq_groupnet_runtime.description import read_description\n"
        "try: read_description(open(sys.argv[1], 'rb').read())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("InputError larq_groupnet.json: expected the description")


def test_class_names_that_do_not_fit_the_output_are_not_used(labels, tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(rewritten(labels.read_bytes(), {"classes": ["one", "two"]}))
    assert Interpreter(path).classes == ("class_0", "class_1", "class_2", "class_3")
