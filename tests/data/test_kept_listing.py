"""The listing of a large folder is kept, but not used after the folder changes."""

import os

import numpy as np
import pytest
from PIL import Image

from larq_groupnet import cli
from larq_groupnet.data import folders
from larq_groupnet.data.folders import open_folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes of eight photos, too many to check by default; one lies a folder deeper."""
    monkeypatch.setattr(folders, "CHECKED_UNASKED", 10)
    root = tmp_path / "sët"
    for number in range(16):
        picture(root / f"class{number % 2}" / ("deep" * (number == 4)) / f"{number}.png")
    (root / "class1" / "notes.txt").write_text("no image")
    age(root)
    return root


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def age(root):
    """Makes the folders look unchanged for a minute."""
    for here, _, _ in os.walk(root):
        state = os.stat(here)
        os.utime(here, ns=(state.st_atime_ns, state.st_mtime_ns - 60 * 10**9))


def listed(root):
    """Returns the splits, the classes, and whether the folder had to be walked."""
    walked = []
    layout = folders._layout

    def counted(*given):
        walked.append(given)
        return layout(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_layout", counted)
        with pytest.warns(match="1 other file"):
            dataset = open_folder(root, root.parent / "data")
    splits = {role: dataset._layout.splits[role] for role in dataset.sizes}
    return splits, dataset.classes, bool(walked)


def test_listing_is_read_as_it_was_written(root):
    first, second = listed(root), listed(root)
    assert first[2] and not second[2]
    assert first[:2] == second[:2]
    assert sum(map(len, first[0].values())) == 16


def add(root):
    picture(root / "class0/deep/new.png")
    return 17


def remove(root):
    (root / "class1/3.png").unlink()
    return 15


def new_class(root):
    picture(root / "class2/new.png")
    return 17


def name_classes(root):
    file = root / "classes.txt"
    file.write_text("class1\nclass0\n")
    age(root)
    listed(root)
    state = os.stat(root)
    file.write_text("class0\nclass1\n")  # The folder's own time stays.
    os.utime(root, ns=(state.st_atime_ns, state.st_mtime_ns))
    return 16


@pytest.mark.parametrize("change", [add, remove, new_class, name_classes])
def test_changed_folder_is_listed_again(root, change):
    listed(root)
    expected = change(root)
    splits, classes, walked = listed(root)
    assert walked
    assert sum(map(len, splits.values())) == expected
    assert classes[0] == "class0"


def test_folder_that_has_just_changed_is_not_kept(root):
    picture(root / "class0/new.png")
    assert listed(root)[2] and listed(root)[2]


def cut(file):
    return file.read_bytes()[:200]


def empty(file):
    return b""


def list_of_facts(file):
    with np.load(file) as kept:
        arrays = dict(kept)
    np.savez(file, **{**arrays, "facts": np.frombuffer(b"[]", np.uint8)})
    return file.read_bytes()


def array(file):
    np.save(file.with_suffix(".npy"), np.zeros(3))
    return file.with_suffix(".npy").read_bytes()


@pytest.mark.parametrize("spoil", [cut, empty, list_of_facts, array])
def test_damaged_listing_is_written_again(root, spoil):
    expected = listed(root)[:2]
    (file,) = (root.parent / "data/folders").glob("*-listing.npz")
    file.write_bytes(spoil(file))
    assert listed(root) == (*expected, True)
    assert listed(root) == (*expected, False)


def test_check_names_every_bad_file_and_training_leaves_them_out_unasked_again(root, capsys):
    (root / "class1/notes.txt").unlink()
    words = ["check", f"folder:{root}", f"--data_dir={root.parent / 'data'}"]
    assert cli.main(words) == 0
    assert "2 classes; train " in (out := capsys.readouterr().out) and "0 bad files" in out
    (root / "class0/2.png").write_bytes(b"no image")
    assert cli.main(words) == 1
    out = capsys.readouterr().out
    assert "class0/2.png: it cannot be decoded\n1 bad file;" in out
    looked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("larq_groupnet.data.check._look", lambda *given: looked.append(given))
        with pytest.warns(match="left out 1 bad file"):
            dataset = open_folder(root, root.parent / "data", "skip")
    assert sum(dataset.sizes.values()) == 15 and not looked


def test_check_of_records_says_what_it_is_for(capsys, tmp_path):
    assert cli.main(["check", "digits", f"--data_dir={tmp_path}"]) == 2
    assert "check: expected a dataset whose files are in a folder" in capsys.readouterr().err
