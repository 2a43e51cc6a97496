"""Files are whole or absent even with several writers, and JSON is valid for any program."""

import errno
import json

import numpy as np
import pytest

from larq_groupnet.errors import MissingFileError, UserError
from larq_groupnet.files import PARTIAL, check_output, path_of, replacing, write_json, write_text


def test_two_writers_of_a_file_do_not_share_a_temporary_one(tmp_path):
    path = tmp_path / "weights.h5"
    with replacing(path) as one:
        with replacing(path) as two:
            one.write_text("one")
            two.write_text("two")
            assert one.suffix == two.suffix == ".h5"
            assert {one, two} == set(tmp_path.glob(PARTIAL))
        assert path.read_text() == "two"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_name_as_long_as_the_system_allows_is_written(tmp_path):
    path = tmp_path / f"{'x' * 251}.png"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def write_half(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_failure_leaves_the_file_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_json_has_numbers_as_numbers_and_no_nan(tmp_path):
    values = {
        "a": np.float32(0.5),
        "b": [np.int64(2), float("nan")],
        3: np.arange(2),
        "d": tmp_path,
    }
    write_json(tmp_path / "a.json", values)
    text = (tmp_path / "a.json").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read == {"a": 0.5, "b": [2, None], "3": [0, 1], "d": str(tmp_path)}


def test_tilde_is_the_home_folder_of_whatever_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "home" / "a" / "b.json"
    assert path_of("~/a/b.json") == check_output("~/a/b.json") == path
    write_json("~/a/b.json", {})
    assert path.is_file() and not (tmp_path / "~").exists()
    assert path_of("~$photo.jpg").name == "~$photo.jpg", "a lock file of Office, and no user"


@pytest.mark.parametrize("path", [None, 3, object(), b"a"])
def test_what_is_no_path_is_named(path):
    with pytest.raises(
        UserError, match=f"expected a path. Received: .* type {type(path).__name__}"
    ):
        path_of(path)


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")  # write() gives no name.


def test_full_disk_names_the_file_and_keeps_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'") as found:
        write_json(path, {})
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_full_disk_under_a_copy_names_the_file_that_is_written(tmp_path):
    path = tmp_path / "a.txt"
    message = r"No space left on device: '.*a\.txt'$"
    with pytest.raises(OSError, match=message), replacing(path) as temporary:
        # shutil.copyfile gives both names.
        raise OSError(errno.ENOSPC, "No space left", tmp_path / "source", None, temporary)


@pytest.mark.parametrize(
    "error",
    [MissingFileError("photo: no such file"), PermissionError(13, "Permission denied", "photo")],
)
def test_error_of_another_file_stays_as_it_is(tmp_path, error):
    with pytest.raises(OSError) as found, replacing(tmp_path / "a.txt"):  # noqa: PT011
        raise error
    assert found.value is error and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["grün", "latin\udcfc"])
def test_text_is_utf8_whatever_a_file_is_called(name, tmp_path):
    write_text(tmp_path / "a.txt", name)
    written = (tmp_path / "a.txt").read_bytes().decode("utf-8")
    assert written == name.replace("\udcfc", r"\udcfc")
