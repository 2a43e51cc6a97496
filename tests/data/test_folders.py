"""Folders of images: layouts, odd formats, and damaged files."""

import os
import re
import shutil
import time
import unicodedata
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_groupnet import cli
from larq_groupnet.autograph import as_written
from larq_groupnet.data import DatasetError, DatasetWarning, folders
from larq_groupnet.data.check import _digest
from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.labels import index_labels
from larq_groupnet.data.layouts import FolderError, Layout, _beside_masks
from larq_groupnet.data.splits import name_hash
from larq_groupnet.inference.predict import find_images, read_pixels

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "emu": (30, 30, 200)}


def picture(path, colour=(10, 20, 30), size=(12, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)
    return path


def mask(path, labels, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if palette:
        image = Image.fromarray(np.asarray(labels, np.uint8), "P")
        image.putpalette(np.random.RandomState(0).randint(0, 256, 768).tolist())
    image.save(path)
    return path


def classes_in(root, count=3, classes=COLOURS):
    for name, colour in classes.items():
        for number in range(count):
            picture(root / name / f"{name}{number}.png", colour)
    return root


def masks_in(root, names, highest=3, palette=False, seed=0):
    rng = np.random.RandomState(seed)
    found = {}
    for name in names:
        labels = rng.randint(0, highest + 1, (9, 12))
        labels[0, 0], labels[0, 1] = 255, highest
        image = picture(root / "images" / f"{name}.png", tuple(rng.randint(0, 256, 3)))
        mask(root / "masks" / f"{name}.png", labels, palette)
        found[Image.open(image).getpixel((5, 5))] = labels
    return found


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def read(dataset, role="train"):
    """The decoded examples of a dataset, in stored order."""
    examples = dataset.examples(role)

    def decoded(handle):
        image, target = examples.fetch(handle)
        return dataset.decode_image(image), dataset.decode_target(target)

    data = examples.stored().map(as_written(decoded))
    return [{"image": x, dataset.target: y} for x, y in data.as_numpy_iterator()]


def paths(dataset, role="train"):
    """The image paths of a dataset, in stored order."""
    examples = dataset.examples(role)
    return [examples.fetch(n)[0].numpy().decode() for n in range(examples.count)]


def test_class_folders_in_splits(tmp_path, data_dir):
    for split in ("train", "val", "test"):
        classes_in(tmp_path / "set" / split)
    picture(tmp_path / "set" / "train" / "emu" / "extra.JPEG", COLOURS["emu"])
    (tmp_path / "set" / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "set" / "train" / "__MACOSX").mkdir()
    builder = open_folder(tmp_path / "set", data_dir)
    assert list(builder.classes) == ["cat", "dog", "emu"]
    sizes = dict(builder.sizes)
    assert sizes == {"train": 10, "validation": 9, "test": 9}
    for split, size in sizes.items():
        examples = read(builder, split)
        assert len(examples) == size
        for example in examples:
            assert example["image"].dtype == np.uint8
            assert example["label"].dtype == np.int32
            colour = list(COLOURS.values())[example["label"]]
            np.testing.assert_allclose(
                example["image"], np.broadcast_to(colour, (9, 12, 3)), atol=3
            )


def test_without_splits_classes_are_divided_exactly_and_another_photo_moves_few(tmp_path, data_dir):
    root = classes_in(tmp_path / "set", count=61)

    def divided():
        dataset = open_folder(root, data_dir)
        assert dict(dataset.sizes)["validation"] == dict(dataset.sizes)["test"]
        return {role: set(paths(dataset, role)) for role in dataset.sizes}

    before = divided()
    assert [len(names) for names in before.values()] == [147, 18, 18]
    for role, share in (("validation", 6), ("test", 6), ("train", 49)):
        for name in COLOURS:
            assert sum(f"/{name}/" in path for path in before[role]) == share
    hashes = {r: [name_hash(p.rpartition("/")[2][:-4]) for p in before[r]] for r in before}
    for name in COLOURS:
        mine = {
            r: [h for h, p in zip(hashes[r], before[r], strict=True) if name in p] for r in before
        }
        assert max(mine["validation"]) < min(mine["train"]) < max(mine["train"]) < min(mine["test"])

    picture(root / "cat" / "one more.png", COLOURS["cat"])
    after = divided()
    moved = {path for role in before for path in before[role] - after[role]}
    assert len(moved) <= 2 and all("/cat/" in path for path in moved)


@pytest.mark.parametrize(("count", "expected"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (14, (12, 1, 1))])
def test_small_folder_has_images_to_train_and_to_validate(tmp_path, data_dir, count, expected):
    """Hashes alone could leave a split empty, and training would end in a traceback."""
    for root in (tmp_path / "set", tmp_path / "alone" / "train"):
        classes_in(root, count=count)
        dataset = open_folder(root if root.name == "set" else root.parent, data_dir)
        found = [dataset.sizes.get(role, 0) for role in ("train", "validation", "test")]
        assert found == [3 * share for share in expected]
        assert len(read(dataset, "test")) == 3 * (expected[2] or expected[1])


def test_training_and_test_images_alone_leave_the_test_alone(tmp_path, data_dir):
    classes_in(tmp_path / "set" / "train", count=20)
    classes_in(tmp_path / "set" / "Test", count=4)
    dataset = open_folder(tmp_path / "set", data_dir)
    assert dict(dataset.sizes) == {"train": 54, "validation": 6, "test": 12}
    assert all("/Test/" in path for path in paths(dataset, "test"))


@pytest.mark.parametrize("palette", [True, False])
def test_masks_with_and_without_palette(tmp_path, data_dir, palette):
    truth = masks_in(tmp_path / "set", [f"train/{n}" for n in range(4)], palette=palette)
    masks_in(tmp_path / "set", ["Val/0", "Val/1"], palette=palette)
    builder = open_folder(tmp_path / "set", data_dir)
    assert list(builder.classes) == ["class_0", "class_1", "class_2", "class_3"]
    assert set(builder.sizes) == {"train", "validation"}
    examples = read(builder)
    assert len(examples) == 4
    for example in examples:
        assert example["mask"].shape == (9, 12, 1)
        assert example["mask"].dtype == np.int32
        expected = truth[tuple(example["image"][5, 5])]
        np.testing.assert_array_equal(example["mask"][..., 0], expected)


def test_masks_without_splits_are_divided(tmp_path, data_dir):
    masks_in(tmp_path / "set", [str(n) for n in range(40)])
    sizes = open_folder(tmp_path / "set", data_dir).sizes
    assert dict(sizes) == {"train": 32, "validation": 4, "test": 4}


def test_classes_txt_names_and_orders_the_classes(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    (root / "classes.txt").write_text("emu\ncat\n dog \n\n")
    builder = open_folder(root, data_dir)
    assert list(builder.classes) == ["emu", "cat", "dog"]
    for example in read(builder):
        name = builder.classes[example["label"]]
        assert tuple(example["image"][0, 0]) == COLOURS[name]

    root = tmp_path / "masks"
    masks_in(root, ["0", "1"], highest=2)
    (root / "classes.txt").write_text("sky\nsea\nland\nice\n")
    builder = open_folder(root, data_dir)
    assert list(builder.classes) == ["sky", "sea", "land", "ice"]


# Published by Cityscapes: label id, name, train id (255 for classes that are not judged).
CITYSCAPES = """
7 road 0, 8 sidewalk 1, 11 building 2, 12 wall 3, 13 fence 4, 17 pole 5, 19 traffic_light 6,
20 traffic_sign 7, 21 vegetation 8, 22 terrain 9, 23 sky 10, 24 person 11, 25 rider 12, 26 car 13,
27 truck 14, 28 bus 15, 31 train 16, 32 motorcycle 17, 33 bicycle 18, 0 unlabeled 255,
1 ego_vehicle 255, 2 rectification_border 255, 3 out_of_roi 255, 4 static 255, 5 dynamic 255,
6 ground 255, 9 parking 255, 10 rail_track 255, 14 guard_rail 255, 15 bridge 255, 16 tunnel 255,
18 polegroup 255, 29 caravan 255, 30 trailer 255, 255 license_plate 255"""


def test_photos_without_masks_are_counted_with_near_names_or_left_out(
    tmp_path, data_dir, capsys, monkeypatch
):
    root = tmp_path / "set"
    masks_in(root, [f"n{number}" for number in range(12)])
    masks = root / "masks"
    for number, name in ((0, "n0_mask.png"), (1, "N1.png"), (3, "n3.xcf")):
        (masks / f"n{number}.png").rename(masks / name)
    for number in (2, 4):
        (masks / f"n{number}.png").unlink()
    said = (
        r"5 photos without a mask in .*: images/n0\.png \(expected masks/n0\.png; n0_mask\.png is "
        r"there\), images/n1\.png \(expected masks/n1\.png; N1\.png is there\), images/n2\.png "
        r"\(expected masks/n2\.png\) and 2 more; "
    )
    with pytest.raises(
        FolderError, match=rf"{said}`larq-groupnet check` lists all\. Add .*: --on_bad_image=skip"
    ):
        open_folder(root, data_dir)
    (root / "images" / "n5.png").write_bytes(b"no image")
    spare = pytest.warns(DatasetWarning, match="left out 2 masks without a photo .*; 1 other file")
    with spare, pytest.warns(DatasetWarning, match=f"left out {said}1 bad file in"):
        dataset = open_folder(root, data_dir, "skip")
    assert sum(dataset.sizes.values()) == 12 - 5 - 1
    shutil.rmtree(data_dir)
    assert cli.main(["check", f"folder:{root}", f"--data_dir={data_dir}"]) == 1
    monkeypatch.setattr("larq_groupnet.data.check._look", None)
    with spare, pytest.warns(DatasetWarning, match="left out 5 photos"):
        assert len(open_folder(root, data_dir, "skip").skipped) == 6
    out = capsys.readouterr().out
    assert "images/n3.png: it has no mask: expected masks/n3.png; n3.xcf is there\n" in out
    assert out.endswith("6 bad files; --on_bad_image=skip leaves them out\n")


def test_check_prints_what_training_says_is_left_out(tmp_path, data_dir, capsys):
    root = classes_in(tmp_path / "set")
    for name in ("IMG_1.HEIC", "IMG_2.heic", "note.txt"):
        (root / "cat" / name).write_bytes(b"x")
    assert cli.main(["check", f"folder:{root}", f"--data_dir={data_dir}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == (
        "left out: 1 other file (cat/note.txt); 2 photos of another format (cat/IMG_1.HEIC, "
        "cat/IMG_2.heic): convert them to JPEG"
    )


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, data_dir, kind):
    rows = [row.split() for row in CITYSCAPES.replace("\n", " ").split(",")]
    stored = np.array([int(row[0 if kind == "labelIds" else 2]) for row in rows])
    trained = np.array([int(row[2]) for row in rows])
    for split, city in (("train", "ulm"), ("train", "jena"), ("val", "bonn"), ("test", "berlin")):
        name = f"{split}/{city}/{city}_000000_000019"
        picture(tmp_path / "leftImg8bit" / f"{name}_leftImg8bit.png", size=(7, 5))
        labels = stored.reshape(5, 7) if split != "test" else np.full((5, 7), stored[-1])
        mask(tmp_path / "gtFine" / f"{name}_gtFine_{kind}.png", labels)
        mask(tmp_path / "gtFine" / f"{name}_gtFine_color.png", labels)
    builder = open_folder(tmp_path, data_dir)
    expected = [row[1].replace("_", " ") for row in rows[:19]]
    assert list(builder.classes) == expected
    sizes = dict(builder.sizes)
    assert sizes == {"train": 2, "validation": 1}, "the test masks are all void"
    for example in read(builder):
        np.testing.assert_array_equal(example["mask"].ravel(), trained)


def test_odd_formats_become_8_bit_rgb(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    classes_in(root / "val", count=1)
    cat, dog = root / "train" / "cat", root / "train" / "dog"
    shutil.rmtree(cat), shutil.rmtree(dog)
    blue = (40, 80, 160)
    grey = (77, 77, 77)
    picture(cat / "grey.jpg", grey, mode="L")
    picture(cat / "grey and alpha.png", grey, mode="LA")
    Image.new("RGB", (12, 9), grey).quantize().save(cat / "palette.png")
    for suffix in ("png", "tif"):
        Image.fromarray(np.full((9, 12), 77 * 257, np.uint16)).save(cat / f"16 bits.{suffix}")
    picture(dog / "cmyk.jpg", blue, mode="CMYK")
    picture(dog / "alpha.png", blue, mode="RGBA")
    colour = np.broadcast_to(np.array(blue, np.uint16) * 257, (9, 12, 3))
    (dog / "16 bits.png").write_bytes(tf.io.encode_png(colour).numpy())
    for suffix in ("bmp", "gif", "webp", "JPEG", "tif", "TIFF", "jfif"):
        picture(dog / f"other.{suffix}", blue)
    shutil.copy(dog / "other.webp", dog / "says jpeg.jpg")
    (dog / "with ünicode.png").write_bytes((dog / "alpha.png").read_bytes())
    builder = open_folder(root, data_dir)
    found = {0: [], 1: [], 2: []}
    for example in read(builder):
        assert example["image"].shape == (9, 12, 3)
        found[example["label"]].append(example["image"])
    assert [len(images) for images in found.values()] == [5, 12, 3]
    np.testing.assert_allclose(found[0], np.broadcast_to(grey, (5, 9, 12, 3)), atol=2)
    np.testing.assert_allclose(found[1], np.broadcast_to(blue, (12, 9, 12, 3)), atol=4)


def break_image(root):
    file = root / "images" / "train" / "1.png"
    file.write_bytes(file.read_bytes()[:-20])
    return "images/train/1.png: it cannot be decoded"


def break_jpeg(root):
    file = root / "images" / "train" / "1.png"
    noise = np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    file.write_bytes(file.read_bytes()[:-60])
    return "images/train/1.png: it cannot be decoded"


def break_mask(root):
    file = root / "masks" / "train" / "1.png"
    file.write_bytes(file.read_bytes()[:60])
    return "masks/train/1.png: it cannot be decoded"


def empty_image(root):
    (root / "images" / "train" / "1.png").write_bytes(b"")
    return "images/train/1.png: it cannot be decoded"


def wrong_size(root):
    mask(root / "masks" / "train" / "1.png", np.zeros((12, 9)))
    return r"masks/train/1.png: a mask of \(12, 9\) pixels for an image of \(9, 12\)"


def wrong_label(root):
    (root / "classes.txt").write_text("a\nb\nc\nd")
    mask(root / "masks" / "train" / "1.png", np.full((9, 12), 4))
    return "masks/train/1.png: label 4 is not a class"


def coloured_mask(root):
    picture(root / "masks" / "train" / "1.png")
    return "masks/train/1.png: a mask is a palette or grey 8-bit PNG, not a PNG of mode 'RGB'"


def too_high(root):
    Image.fromarray(np.full((9, 12), 300, np.uint16)).save(root / "masks" / "train" / "1.png")
    return "masks/train/1.png: a mask holds whole numbers of 0 to 255, not 300, as this PNG of"


BAD_FILES = [
    *(break_image, break_jpeg, break_mask, empty_image),
    *(wrong_size, wrong_label, coloured_mask, too_high),
]


@pytest.mark.parametrize("spoil", BAD_FILES)
def test_bad_file_is_named_or_left_out(tmp_path, data_dir, spoil):
    root = tmp_path / "set"
    masks_in(root, [*(f"train/{n}" for n in range(4)), "val/0"])
    said = spoil(root)
    with pytest.raises(FolderError, match=rf"1 bad file in .*set: {said}.*\. Mend"):
        open_folder(root, data_dir)
    with pytest.warns(DatasetWarning, match=rf"left out 1 bad file in .*: {said}.*\."):
        builder = open_folder(root, data_dir, on_bad_image="skip")
    assert list(builder.skipped) == [said.partition(":")[0]]
    assert builder.sizes["train"] == len(read(builder)) == 3


def test_many_bad_files_are_counted_and_three_of_a_reason_are_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train", count=6).parent
    for name in ("cat", "dog"):
        for number in range(2, 6):
            (root / "train" / name / f"{name}{number}.png").write_bytes(b"no image")
    with pytest.raises(
        FolderError,
        match=r"8 bad files in .*: train/cat/cat2\.png, train/cat/cat3.*, .* and 5 more: it cannot "
        r"be decoded; `larq-groupnet check` lists all\. Mend .*: --on_bad_image=skip",
    ):
        open_folder(root, data_dir)
    with pytest.warns(DatasetWarning, match="left out 8"):
        assert len(open_folder(root, data_dir, "skip").skipped) == 8
    for number in range(2):
        (root / "train" / "cat" / f"cat{number}.png").write_bytes(b"no image")
    with pytest.raises(FolderError, match=r"every class in train.*no image of \['cat'\]"):
        open_folder(root, data_dir, "skip")


def test_files_are_checked_once_and_again_when_they_change(tmp_path, data_dir, capfd):
    root = tmp_path / "set"
    masks_in(root, [f"train/{n}" for n in range(4)])
    open_folder(root, data_dir)
    assert "Checking set" in capfd.readouterr().err
    assert len(open_folder(root, data_dir).classes) == 4
    assert "Checking" not in capfd.readouterr().err
    mask(root / "masks" / "train" / "0.png", np.arange(108).reshape(9, 12) % 7)
    assert len(open_folder(root, data_dir).classes) == 7
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(FolderError, match="label 6 is not a class"):
        open_folder(root, data_dir)


DAMAGE = [b"", b"[]", b"\xff\xfe", b"null", b'{"bad": 3, "values": 3}', b'{"bad": {}}']


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_findings_are_looked_for_again(tmp_path, data_dir, damage):
    root = tmp_path / "set"
    masks_in(root, ["0", "1"])
    open_folder(root, data_dir)
    (findings,) = (data_dir / "folders").glob("*.json")
    whole = findings.read_bytes()
    findings.write_bytes(damage)
    assert len(open_folder(root, data_dir).classes) == 4
    assert findings.read_bytes() == whole


def all_broken(root):
    for path in (root / "masks").iterdir():
        path.write_bytes(b"no image")
    return r"6 bad files in .*: {}: it cannot be decoded\. Mend or remove them\.\n", "masks/{}.png"


def all_but_one_broken(root):
    all_broken(root)
    mask(root / "masks" / "5.png", np.eye(9, 12))
    return r"5 bad files in .*: {}: it cannot be decoded\. Mend or remove them\.\n", "masks/{}.png"


def none_there(root):
    for path in (root / "masks").iterdir():
        path.unlink()
    said = r"6 photos without a mask in .*: {}\. Add the masks\.\n"
    return said, "images/{0}.png (expected masks/{0}.png)"


@pytest.mark.parametrize("spoil", [all_broken, all_but_one_broken, none_there])
def test_check_names_every_file_when_too_few_are_whole(tmp_path, data_dir, capsys, spoil):
    root = tmp_path / "set"
    masks_in(root, map(str, range(6)))
    said, line = spoil(root)
    files = ", ".join(line.format(number) for number in range(5 + (said[0] == "6")))
    assert cli.main(["check", f"folder:{root}", f"--data_dir={data_dir}"]) == 2
    assert re.search(said.format(re.escape(files)), capsys.readouterr().err)


def link_to_itself(path):
    path.symlink_to(path.name)
    return "it cannot be opened: Too many levels of symbolic links"


def pipe(path):
    os.mkfifo(path)
    return "it is not a regular file"


def broken_link(path):
    path.symlink_to("nowhere")
    return "it is gone"


@pytest.mark.parametrize("make", [link_to_itself, pipe, broken_link])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_file_that_is_no_regular_one_is_one_bad_file(tmp_path, data_dir, make, part):
    root = tmp_path / "set"
    masks_in(root, map(str, range(4)))
    path = root / part / "1.png"
    path.unlink()
    said = make(path)
    with pytest.raises(FolderError, match=f"1 bad file in .*: {part}/1.png: {said}"):
        open_folder(root, data_dir)
    with pytest.warns(DatasetWarning, match="1 bad file"):
        assert sum(open_folder(root, data_dir, "skip").sizes.values()) == 3


def test_pipe_is_never_opened(tmp_path):
    """Reading a pipe would wait for its end."""
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="it is not a regular file"):
        read_pixels(tmp_path / "a.jpg", 3)


def test_file_without_permission_says_so(tmp_path, data_dir, monkeypatch):
    root = classes_in(tmp_path / "set")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("larq_groupnet.data.check.image_size", refuse)
    with pytest.raises(FolderError, match="it may not be read: its permissions forbid it"):
        open_folder(root, data_dir)
    monkeypatch.undo()
    for path in root.rglob("*.png"):
        path.chmod(0o640)
    assert sum(open_folder(root, data_dir).sizes.values()) == 9, "new permissions are looked at"


@pytest.mark.parametrize(
    ("meaning", "digest"),
    [
        (None, "f0fec369f8d6c07455a853632713e679"),
        (index_labels(2), "d02229f85abac792eac18c755b3d0088"),
    ],
    ids=str,
)
def test_findings_have_the_same_name_in_every_process(tmp_path, meaning, digest):
    """If the digest hashed an address, every process would decode every file again."""
    (tmp_path / "a.png").write_bytes(b"any")
    (tmp_path / "a.png").chmod(0o644)
    os.utime(tmp_path / "a.png", ns=(0, 10**18))
    layout = Layout({"train": [(str(tmp_path / "a.png"), 1)]}, ["a", "b"], meaning)
    assert _digest(tmp_path, layout) == digest


def test_folder_is_listed_without_a_look_into_its_images(tmp_path, data_dir, monkeypatch):
    root = classes_in(tmp_path / "set", count=4)
    (root / "cat" / "cat0.png").write_bytes(b"no image")
    listed = open_folder(root, data_dir, on_bad_image=None)
    assert sum(listed.sizes.values()) == 12 and not data_dir.exists()
    monkeypatch.setattr(folders, "CHECKED_UNASKED", 11)
    assert sum(open_folder(root, data_dir).sizes.values()) == 12
    with pytest.raises(FolderError, match="cat/cat0.png: it cannot be decoded"):
        listed.check_files()
    with pytest.warns(DatasetWarning, match="cat/cat0.png"):
        assert sum(open_folder(root, data_dir, "skip").sizes.values()) == 11


def test_file_that_vanishes_later_is_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    dataset = open_folder(root, data_dir)
    gone = paths(dataset)[0]
    (root / gone).unlink()
    with pytest.raises(tf.errors.NotFoundError, match=gone):
        read(dataset)


WHERE = {
    "subfolder": "2023/may/a.png",
    "capitals": "a.JPG",
    "tiff": "a.tif",
    "linked": "link/a.png",
}


@pytest.mark.parametrize("where", WHERE)
def test_training_and_predict_count_the_same_files(tmp_path, data_dir, where):
    root = classes_in(tmp_path / "set", count=3)
    more = picture(tmp_path / "elsewhere" / "a.png")
    if where == "linked":
        (root / "cat" / "link").symlink_to(more.parent)
        (root / "cat" / "again").symlink_to(root / "cat")
    else:
        picture(root / "cat" / WHERE[where])
    dataset = open_folder(root, data_dir)
    mine = {path for role in dataset.sizes for path in paths(dataset, role)}
    assert str(root / "cat" / WHERE[where]) in mine and len(mine) == 10
    assert mine == set(map(str, find_images(root)))
    assert dataset.left_out == ""


def test_left_out_files_are_counted_and_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    classes_in(root / "val")
    junk = (
        ".DS_Store",
        "._cat0.png",
        ".ipynb_checkpoints/cat0.png",
        "__MACOSX/cat0.png",
        "Thumbs.db",
    )
    for name in junk:
        path = root / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    dataset = open_folder(root, data_dir)
    assert dataset.left_out.startswith("5 hidden, of the system or of larq")
    for name in ("a.txt", "b.txt", "photo.heic"):
        (root / "train" / "emu" / name).write_bytes(b"x")
    for place in ("test/a.png", "extra/fox/a.png", "train/b.png"):
        picture(root / place)
    with pytest.warns(DatasetWarning) as said:
        dataset = open_folder(root, data_dir)
    assert len(said) == 1 and "\n" not in str(said[0].message)
    for line in (
        "1 folder beside the splits (extra)",
        "1 image beside the classes (train/b.png)",
        "1 image without a class (test/a.png)",
        "1 photo of another format (train/emu/photo.heic): convert them to JPEG",
        "2 other files (train/emu/a.txt, train/emu/b.txt)",
    ):
        assert line in str(said[0].message)
    assert dict(dataset.sizes) == {"train": 9, "validation": 9}


def left_out_of(root, data_dir):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return open_folder(root, data_dir).left_out


def test_own_folders_are_no_classes(tmp_path, data_dir):
    """`cd photos; larq-groupnet train --dataset folder:.` must not add classes `data`, `runs`."""
    root = classes_in(tmp_path / "set")
    open_folder(root, root / "data")
    assert list((root / "data" / "folders").glob("*.json"))
    for run in ("runs/first", "mine", "cat/deeper"):
        picture(root / run / "curves.png")
        (root / run / "recipe.json").write_text("{}")
    picture(root / "runs" / "first" / "snapshots" / "1.png")
    (root / "predictions").mkdir()
    (root / "predictions" / "predictions.csv").touch()
    dataset = open_folder(root, root / "data")
    assert dataset.classes == tuple(COLOURS) and sum(dataset.sizes.values()) == 9
    said = "5 hidden, of the system or of larq-groupnet (data, mine, predictions, ...)"
    assert dataset.left_out == said
    assert len(find_images(root)) == 9
    assert len(find_images(root / "mine")) == 1, "the user names it"
    masks_in(tmp_path / "masks", ["0", "1"])
    open_folder(tmp_path / "masks", tmp_path / "masks" / "data")
    assert open_folder(tmp_path / "masks", data_dir).left_out.endswith("larq-groupnet (data)")


def test_folder_that_becomes_our_own_is_passed_over_from_then_on(tmp_path, data_dir):
    root = classes_in(tmp_path / "set")
    (root / "runs").mkdir()
    with pytest.raises(FolderError, match="expected images .*Received: none in .*runs"):
        open_folder(root, data_dir)
    (root / "runs" / "first").mkdir()
    (root / "runs" / "first" / "recipe.json").touch()
    assert open_folder(root, data_dir).classes == tuple(COLOURS)


def test_what_lies_beside_the_classes_is_counted_and_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set")
    (root / "classes.txt").write_text("cat\ndog\nemu\n")
    (root / "fox").symlink_to(tmp_path / "nowhere")
    for name in ("a.heic", "b.zip", ".hidden"):
        (root / name).touch()
    picture(root / "c.png")
    assert left_out_of(root, data_dir) == (
        "1 broken link (fox); 1 image beside the classes (c.png); 1 other file (b.zip); 1 photo of "
        "another format (a.heic): convert them to JPEG; 1 hidden, of the system or of "
        "larq-groupnet (.hidden)"
    )


@pytest.mark.parametrize("split", ["", "train/"])
def test_what_lies_beside_and_among_the_masks_is_counted_and_named(tmp_path, data_dir, split):
    root = tmp_path / "set"
    masks_in(root, [f"{split}{n}" for n in range(3)])
    mask(root / f"masks/{split}0.bmp", np.zeros((9, 12)))
    mask(root / f"masks/{split}7.png", np.zeros((9, 12)))
    mask(root / "masks/val/8.png", np.zeros((9, 12)))
    (root / f"masks/{split}notes.txt").touch()
    (root / "readme.md").touch()
    (root / "map.txt").write_text("0 a\n1 b\n2 b\n3 b\n")
    picture(root / "loose.png")
    picture(root / "depth" / "0.png")
    with pytest.warns(DatasetWarning):
        dataset = open_folder(root, data_dir, mapping="map.txt")
    masks = ", ".join(sorted([f"masks/{split}7.png", "masks/val/8.png"]))
    assert dataset.left_out == (
        "1 folder beside images/ and masks/ (depth); 1 image beside images/ and masks/ (loose.png);"
        f" 2 masks without a photo ({masks}); 2 other files (masks/{split}notes.txt, readme.md);"
        f" 1 second mask of a photo (masks/{split}0.bmp)"
    )


def test_folder_that_cannot_be_read_is_counted(tmp_path, data_dir, monkeypatch):
    root = classes_in(tmp_path / "set")
    picture(root / "cat" / "locked" / "a.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert left_out_of(root, data_dir) == "1 folder that cannot be read (cat/locked)"


def test_links_to_folders_above_are_counted_and_not_followed(tmp_path, data_dir):
    """Following them would put the photos of one class into another."""
    root = classes_in(tmp_path / "set")
    (root / "dog" / "up").symlink_to("..")
    (root / "cat" / "loop").symlink_to(root)
    (root / "emu" / "out").symlink_to(tmp_path)
    with pytest.warns(DatasetWarning):
        dataset = open_folder(root, data_dir)
    assert sum(dataset.sizes.values()) == 9
    assert dataset.left_out == "3 links to a folder above (cat/loop, dog/up, emu/out)"


def test_class_may_be_called_train(tmp_path, data_dir):
    classes = {"bus": (1, 2, 3), "train": (200, 0, 0), "test": (0, 200, 0)}
    root = classes_in(tmp_path / "set", classes=classes)
    assert open_folder(root, data_dir).classes == ("bus", "test", "train")
    root = classes_in(tmp_path / "two", classes={"train": (1, 2, 3), "test": (4, 5, 6)})
    with pytest.raises(FolderError, match="expected a folder of images for each class in .*train"):
        open_folder(root, data_dir)
    (root / "classes.txt").write_text("train\ntest\n")
    assert open_folder(root, data_dir).classes == ("train", "test")


def test_ambiguous_splits_are_refused_with_the_remedy(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    classes_in(root / "extra")
    with pytest.raises(FolderError, match=r"train with folders in it, beside extra.*classes\.txt"):
        open_folder(root, data_dir)
    (root / "classes.txt").write_text("cat\ndog\nemu\n")
    with pytest.warns(DatasetWarning, match=r"1 folder beside the splits \(extra\)"):
        assert sum(open_folder(root, data_dir).sizes.values()) == 9


@pytest.mark.parametrize(
    "data",
    [
        "straße\ncafé\nemu\n".encode("utf-8-sig"),
        "straße\ncafé\nemu\n".encode("utf-16"),
        "straße\r\ncafé\r\nemu".encode("cp1252"),
        "straße\r\ncafé\r\nemu\r\n\r\n".encode("utf-16-le"),
        unicodedata.normalize("NFD", "straße\ncafé\nemu\n\n \n").encode(),
    ],
)
def test_class_names_come_from_any_editor(tmp_path, data_dir, data):
    colours = dict(zip(("straße", "café", "emu"), COLOURS.values(), strict=True))
    root = classes_in(tmp_path / "set", classes=colours)
    (root / "classes.txt").write_bytes(data)
    assert open_folder(root, data_dir).classes == ("straße", "café", "emu")


def test_class_is_the_same_whether_its_accent_is_a_character_of_its_own_or_not(tmp_path, data_dir):
    """macOS and Linux write it differently."""
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    found = []
    for name in names:
        root = classes_in(tmp_path / str(len(name)), classes={name: (1, 2, 3), "dog": (4, 5, 6)})
        found.append(open_folder(root, data_dir).classes)
    assert names[0] != names[1] and found[0] == found[1] == (names[0], "dog")


def test_class_whose_name_is_no_text_is_escaped(tmp_path, data_dir):
    root = classes_in(tmp_path / "set", count=3)
    os.rename(os.fsencode(root / "cat"), os.fsencode(root) + b"/caf\xe9")
    os.rename(root / "emu", root / "e\nmu")
    dataset = open_folder(root, data_dir)
    assert dataset.classes == ("caf\\udce9", "dog", "e\\nmu")
    assert print(*dataset.classes) is None and sum(dataset.sizes.values()) == 9


@pytest.mark.parametrize("names", [("training_set", "test_set"), ("Train Data", "validation-data")])
def test_splits_go_by_many_names(tmp_path, data_dir, names):
    for name in names:
        classes_in(tmp_path / "set" / name)
    dataset = open_folder(tmp_path / "set", data_dir)
    assert dataset.classes == ("cat", "dog", "emu")
    assert sum(dataset.sizes.values()) == 18


def test_images_and_masks_in_capitals_are_the_same(tmp_path, data_dir):
    root = tmp_path / "set"
    masks_in(root, ["train/0", "train/1", "val/0"])
    for part in ("images", "masks"):
        (root / part / "train").rename(root / part / {"images": "Train", "masks": "training"}[part])
        (root / part).rename(root / part.capitalize())
    for path in (root / "Masks").rglob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    assert open_folder(root, data_dir).sizes == {"train": 2, "validation": 1}


def test_name_that_is_no_text_is_read_and_printed(tmp_path, data_dir):
    root = classes_in(tmp_path / "set", count=3)
    strange = os.fsencode(root / "cat") + b"/\xff\xfe.png"
    shutil.copy(os.fsencode(root / "cat" / "cat0.png"), strange)
    dataset = open_folder(root, data_dir)
    assert sum(len(read(dataset, role)) for role in dataset.sizes) == 10
    with open(strange, "wb") as file:
        file.write(b"no image")
    with pytest.raises(FolderError, match=r"cat/\\udcff\\udcfe.png: it cannot"):
        open_folder(root, data_dir)


def no_folder(root):
    return r"folder: expected a folder of images. Received: '.*set'"


def nothing(root):
    root.mkdir()
    return r"a folder of images for each of two or more classes.* Received: no folder of images"


def one_class(root):
    picture(root / "train" / "cat" / "a.png")
    return "two or more classes.*Received: one class, cat"


def photos_alone(root):
    for name in "ab":
        picture(root / f"{name}.png")
    return "two or more classes.*Received: 2 images of one class, set"


def photos_and_masks_alone(root):
    for name in ("a", "a_mask"):
        picture(root / f"{name}.png")
    return r"2 images of one class, set\. If NAME_mask\.png is .* move it to masks/NAME\.png"


def test_ten_times_the_photos_without_masks_take_ten_times_as_long():
    def seconds(number):
        photos = [f"a/{each}.jpg" for each in range(number)]
        begin = time.process_time()
        assert not _beside_masks(photos)
        return time.process_time() - begin

    few, many = (min(seconds(number) for _ in range(3)) for number in (2_000, 20_000))
    assert many < 50 * few


def empty_class(root):
    classes_in(root / "train")
    (root / "train" / "fox").mkdir()
    (root / "train" / "fox" / "a.heic").touch()
    return "in every class. Received: none in .*fox, left out 1 photo of .*convert them to JPEG"


def class_only_in_val(root):
    classes_in(root / "train", classes={"cat": (1, 2, 3), "dog": (4, 5, 6)})
    classes_in(root / "val")
    return r"every class in train of .* no image of \['emu'\]"


def unlisted_class(root):
    classes_in(root / "train")
    (root / "classes.txt").write_text("cat\ndog\n")
    return r"expected one of \['cat', 'dog'\], as classes.txt says. Received: .*emu"


def twice_listed_class(root):
    classes_in(root / "train")
    (root / "classes.txt").write_text("cat\ndog\ncat\n")
    return r"classes.txt: expected 2 to 255 different class names.*'cat', 'dog', 'cat'"


def no_train(root):
    classes_in(root / "test")
    return r"expected images for train.*Received: test 9"


def too_few(root):
    picture(root / "cat" / "a.png")
    picture(root / "dog" / "a.png")
    return "expected images for validation. Received: train 2.* needs 2 images"


def two_validations(root):
    for split in ("train", "val", "validation"):
        classes_in(root / split)
    return "one folder per split in .*: train, val, validation"


def no_mask(root):
    masks_in(root, ["train/0", "train/1"])
    (root / "masks" / "train" / "1.png").unlink()
    return r"1 photo without a mask in .*: images/train/1.png \(expected masks/train/1.png\)\. Add"


def black_and_white_masks(root):
    picture(root / "images" / "train" / "0.png")
    mask(root / "masks" / "train" / "0.png", np.eye(9, 12) * 255)
    return "255 stands for void, never for a class. Received: values \\[0\\]"


def splits_of_other_names(root):
    for name in ("dev", "eval"):
        classes_in(root / name)
    return r"splits called train, val and test, .*Received: dev, eval, which all hold cat, dog, emu"


def masks_of_another_name(root):
    masks_in(root, ["0", "1", "2"])
    (root / "images").rename(root / "pictures")
    (root / "masks").rename(root / "Labels")
    return r"or images/ and masks/, in .*Received: Labels, pictures, whose files have the same name"


def masks_beside_their_split(root):
    masks_in(root, [f"{split}/{n}" for split in ("train", "val", "test") for n in range(3)])
    for split in ("train", "val", "test"):
        (root / "images" / split).rename(root / split)
        (root / "masks" / split).rename(root / f"{split}_labels")
    for folder in (root / "images", root / "masks"):
        folder.rmdir()
    return "test beside test_labels, which look like images and their masks. Call them images/test"


def photos_and_masks_in_one_folder(root):
    masks_in(root, ["train/0", "train/1"])
    for file in sorted((root / "masks" / "train").iterdir()):
        file.rename(root / "images" / "train" / f"{file.stem}_mask.png")
    (root / "images" / "train").rename(root / "train")
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "masks")
    return "or images/ and masks/ in .*Received: 4 images without a class. If NAME_mask.png is"


def one_mask_for_two(root):
    masks_in(root, ["train/0", "train/1"])
    shutil.copy(root / "images/train/0.png", root / "images/train/0.jpg")
    return (
        r"a separate mask for each image\. Received: .*0\.jpg and .*0\.png, which share "
        r".*masks/train/0\.png"
    )


def masks_of_jpeg(root):
    masks_in(root, ["train/0", "train/1"])
    for path in list((root / "masks").rglob("*.png")):
        Image.open(path).convert("L").save(path.with_suffix(".jpg"))
        path.unlink()
    return "a mask is stored without loss, as in a PNG, not as JPEG"


def empty_line_between_names(root):
    masks_in(root, ["train/0", "train/1"])
    (root / "classes.txt").write_text("sky\n\nsea\n")
    return r"a class name in each line, .*Received: nothing in line 2"


BAD_FOLDERS = [
    *(no_folder, nothing, one_class, photos_alone, empty_class, class_only_in_val),
    *(unlisted_class, photos_and_masks_alone),
    *(twice_listed_class, no_train, too_few, two_validations, no_mask, black_and_white_masks),
    *(splits_of_other_names, masks_of_another_name, one_mask_for_two, masks_of_jpeg),
    *(masks_beside_their_split, photos_and_masks_in_one_folder),
    empty_line_between_names,
]


@pytest.mark.parametrize("make", BAD_FOLDERS)
def test_folder_that_is_no_dataset_is_explained(tmp_path, data_dir, make):
    said = make(tmp_path / "set")
    with pytest.raises(DatasetError, match=said):
        open_folder(tmp_path / "set", data_dir)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("JPEGImages", "SegmentationClass"),  # labelme, CVAT, VOC
        ("img_dir", "ann_dir"),  # MMSegmentation
        ("images", "annotations"),  # ADE20K
        ("image", "Label"),
    ],
)
def test_images_and_masks_of_other_tools_are_found(tmp_path, data_dir, images, masks):
    root = tmp_path / "set"
    masks_in(root, [f"{split}/{n}" for split in ("train", "val") for n in range(3)])
    (root / "images").rename(root / images)
    (root / "masks").rename(root / masks)
    picture(root / "SegmentationObject" / "0.png")
    with pytest.warns(DatasetWarning, match=rf"1 folder beside {images}/ and {masks}/ "):
        dataset = open_folder(root, data_dir)
    assert dataset.target == "mask" and dict(dataset.sizes) == {"train": 3, "validation": 3}
    (root / "classes.txt").write_text(f"{images}\n{masks}\nSegmentationObject\n")
    assert open_folder(root, data_dir).target == "label"


def test_labels_that_are_no_images_are_no_masks(tmp_path, data_dir):
    """Labels of a detector are boxes."""
    picture(tmp_path / "images" / "0.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 1 1")
    with pytest.raises(DatasetError, match="Received: none in .*labels, left out 1 other"):
        open_folder(tmp_path, data_dir)


def test_way_to_treat_bad_images_is_one_of_two(tmp_path, data_dir):
    with pytest.raises(
        FolderError, match="on_bad_image: expected 'error' or 'skip'. Received: 'ignore'"
    ):
        open_folder(tmp_path, data_dir, on_bad_image="ignore")
