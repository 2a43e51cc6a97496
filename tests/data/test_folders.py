"""Folders of images: layouts, odd formats, and what is wrong with files."""

import hashlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.layouts import FolderError

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


def read(builder, split="train"):
    return list(builder.as_dataset(split=split).as_numpy_iterator())


def test_class_folders_in_splits(tmp_path, data_dir):
    for split in ("train", "val", "test"):
        classes_in(tmp_path / "set" / split)
    picture(tmp_path / "set" / "train" / "emu" / "extra.JPEG", COLOURS["emu"])
    (tmp_path / "set" / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "set" / "train" / "__MACOSX").mkdir()
    (tmp_path / "set" / "train" / "emu" / "notes.txt").write_text("x")
    builder = open_folder(tmp_path / "set", data_dir)
    assert builder.info.features["label"].names == ["cat", "dog", "emu"]
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 10, "validation": 9, "test": 9}
    for split, size in sizes.items():
        examples = read(builder, split)
        assert len(examples) == size
        for example in examples:
            assert example["image"].dtype == np.uint8
            assert example["label"].dtype == np.int64
            colour = list(COLOURS.values())[example["label"]]
            np.testing.assert_allclose(
                example["image"], np.broadcast_to(colour, (9, 12, 3)), atol=3
            )


def test_without_splits_the_name_alone_decides(tmp_path, data_dir):
    root = classes_in(tmp_path / "set", count=60)
    names = {split: set() for split in ("train", "validation", "test")}

    def paths(split):
        data = open_folder(root, data_dir).as_dataset(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        return {example["image"].decode() for example in data.as_numpy_iterator()}

    for split in names:
        names[split] = paths(split)
        for name in names[split]:
            stem = name.rpartition("/")[2].removesuffix(".png")
            tenth = int(hashlib.sha256(stem.encode()).hexdigest()[:16], 16) % 10
            assert split == {8: "validation", 9: "test"}.get(tenth, "train")
    assert sum(map(len, names.values())) == 180
    assert 120 < len(names["train"]) < 170

    classes_in(root, count=80)
    for split in names:
        assert names[split] < paths(split)


@pytest.mark.parametrize("palette", [True, False])
def test_masks_with_and_without_palette(tmp_path, data_dir, palette):
    truth = masks_in(tmp_path / "set", [f"train/{n}" for n in range(4)], palette=palette)
    masks_in(tmp_path / "set", ["val/0", "val/1"], palette=palette)
    builder = open_folder(tmp_path / "set", data_dir)
    assert builder.info.features["mask"].names == ["class_0", "class_1", "class_2", "class_3"]
    assert set(builder.info.splits) == {"train", "validation"}
    examples = read(builder)
    assert len(examples) == 4
    for example in examples:
        assert example["mask"].shape == (9, 12, 1)
        assert example["mask"].dtype == np.uint8
        expected = truth[tuple(example["image"][5, 5])]
        np.testing.assert_array_equal(example["mask"][..., 0], expected)


def test_masks_without_splits_are_divided(tmp_path, data_dir):
    masks_in(tmp_path / "set", [str(n) for n in range(40)])
    splits = open_folder(tmp_path / "set", data_dir).info.splits
    assert sum(split.num_examples for split in splits.values()) == 40
    assert set(splits) == {"train", "validation", "test"}


def test_masks_of_two_colours_and_of_16_bits(tmp_path, data_dir):
    root = tmp_path / "set"
    labels = np.random.RandomState(0).randint(0, 2, (9, 12))
    for name in "ab":
        picture(root / "images" / "train" / f"{name}.png")
    (root / "masks" / "train").mkdir(parents=True)
    Image.fromarray(labels.astype(bool)).save(root / "masks" / "train" / "a.png")
    Image.fromarray(labels.astype(np.uint16)).save(root / "masks" / "train" / "b.png")
    for example in read(open_folder(root, data_dir)):
        np.testing.assert_array_equal(example["mask"][..., 0], labels)


def test_classes_txt_names_and_orders_the_classes(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    (root / "classes.txt").write_text("emu\ncat\n dog \n\n")
    builder = open_folder(root, data_dir)
    assert builder.info.features["label"].names == ["emu", "cat", "dog"]
    for example in read(builder):
        name = builder.info.features["label"].int2str(example["label"])
        assert tuple(example["image"][0, 0]) == COLOURS[name]

    root = tmp_path / "masks"
    masks_in(root, ["train/0"], highest=2)
    (root / "classes.txt").write_text("sky\nsea\nland\nice\n")
    builder = open_folder(root, data_dir)
    assert builder.info.features["mask"].names == ["sky", "sea", "land", "ice"]


# As published by Cityscapes: label id, name, train id (255 for what is not judged).
CITYSCAPES = """
7 road 0, 8 sidewalk 1, 11 building 2, 12 wall 3, 13 fence 4, 17 pole 5, 19 traffic_light 6,
20 traffic_sign 7, 21 vegetation 8, 22 terrain 9, 23 sky 10, 24 person 11, 25 rider 12, 26 car 13,
27 truck 14, 28 bus 15, 31 train 16, 32 motorcycle 17, 33 bicycle 18, 0 unlabeled 255,
1 ego_vehicle 255, 2 rectification_border 255, 3 out_of_roi 255, 4 static 255, 5 dynamic 255,
6 ground 255, 9 parking 255, 10 rail_track 255, 14 guard_rail 255, 15 bridge 255, 16 tunnel 255,
18 polegroup 255, 29 caravan 255, 30 trailer 255, 255 license_plate 255"""


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
    assert builder.info.features["mask"].names == expected
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 2, "validation": 1}, "the test masks are all void"
    for example in read(builder):
        np.testing.assert_array_equal(example["mask"].ravel(), trained)


def test_odd_formats_become_8_bit_rgb(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    cat, dog = root / "train" / "cat", root / "train" / "dog"
    shutil.rmtree(cat), shutil.rmtree(dog)
    blue = (40, 80, 160)
    grey = (77, 77, 77)
    picture(cat / "grey.jpg", grey, mode="L")
    picture(cat / "grey and alpha.png", grey, mode="LA")
    Image.new("RGB", (12, 9), grey).quantize().save(cat / "palette.png")
    Image.fromarray(np.full((9, 12), 77 * 257, np.uint16)).save(cat / "16 bits.png")
    picture(dog / "cmyk.jpg", blue, mode="CMYK")
    picture(dog / "alpha.png", blue, mode="RGBA")
    colour = np.broadcast_to(np.array(blue, np.uint16) * 257, (9, 12, 3))
    (dog / "16 bits.png").write_bytes(tf.io.encode_png(colour).numpy())
    for suffix in ("bmp", "gif", "webp", "JPEG"):
        picture(dog / f"other.{suffix}", blue)
    shutil.copy(dog / "other.webp", dog / "says jpeg.jpg")
    (dog / "with ünicode.png").write_bytes((dog / "alpha.png").read_bytes())
    builder = open_folder(root, data_dir)
    found = {0: [], 1: [], 2: []}
    for example in read(builder):
        assert example["image"].shape == (9, 12, 3)
        found[example["label"]].append(example["image"])
    assert [len(images) for images in found.values()] == [4, 9, 3]
    np.testing.assert_allclose(found[0], np.broadcast_to(grey, (4, 9, 12, 3)), atol=2)
    np.testing.assert_allclose(found[1], np.broadcast_to(blue, (9, 9, 12, 3)), atol=4)


def test_the_orientation_in_exif_is_not_applied(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train", count=1).parent
    exif = Image.Exif()
    exif[0x112] = 6  # Turned by a quarter.
    Image.new("RGB", (20, 10)).save(root / "train" / "cat" / "turned.jpg", exif=exif)
    shapes = [example["image"].shape for example in read(open_folder(root, data_dir))]
    assert sorted(shapes)[-1] == (10, 20, 3)


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
    return "masks/train/1.png: label 4 is no class"


def coloured_mask(root):
    picture(root / "masks" / "train" / "1.png")
    return "masks/train/1.png: a mask is a palette or grey 8-bit PNG, not of mode 'RGB'"


def too_high(root):
    Image.fromarray(np.full((9, 12), 300, np.uint16)).save(root / "masks" / "train" / "1.png")
    return "masks/train/1.png: a mask is a palette or grey 8-bit PNG, not of mode 'I;16'"


BAD_FILES = [
    *(break_image, break_jpeg, break_mask, empty_image),
    *(wrong_size, wrong_label, coloured_mask, too_high),
]


@pytest.mark.parametrize("spoil", BAD_FILES)
def test_a_bad_file_is_named_or_left_out(tmp_path, data_dir, spoil):
    root = tmp_path / "set"
    masks_in(root, [f"train/{n}" for n in range(4)])
    said = spoil(root)
    with pytest.raises(FolderError, match=rf"1 bad files in .*set: {said}\. Mend"):
        open_folder(root, data_dir)
    with pytest.warns(UserWarning, match=rf"left out 1 bad files in .*: {said}\."):
        builder = open_folder(root, data_dir, on_bad_image="skip")
    assert list(builder.skipped) == [said.partition(":")[0]]
    assert builder.info.splits["train"].num_examples == 3
    data = builder.as_dataset(split="train")
    assert len(data) == len(list(data)) == 3


def test_many_bad_files_are_counted_and_five_are_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train", count=5).parent
    for name in ("cat", "dog"):
        for number in range(1, 5):
            (root / "train" / name / f"{name}{number}.png").write_bytes(b"no image")
    with pytest.raises(FolderError, match=r"8 bad files in .*cat/cat1.*; and 3 more\. Mend"):
        open_folder(root, data_dir)
    with pytest.warns(UserWarning, match="left out 8"):
        assert len(open_folder(root, data_dir, "skip").skipped) == 8
    (root / "train" / "cat" / "cat0.png").write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match="left out 9"),
        pytest.raises(FolderError, match=r"every class in train.*no image of \['cat'\]"),
    ):
        open_folder(root, data_dir, "skip")


def test_files_are_checked_once_and_again_when_they_change(tmp_path, data_dir, capfd):
    root = tmp_path / "set"
    masks_in(root, [f"train/{n}" for n in range(4)])
    open_folder(root, data_dir)
    assert "Checking set" in capfd.readouterr().err
    assert open_folder(root, data_dir).info.features["mask"].num_classes == 4
    assert "Checking" not in capfd.readouterr().err
    mask(root / "masks" / "train" / "0.png", np.full((9, 12), 6))
    assert open_folder(root, data_dir).info.features["mask"].num_classes == 7
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(FolderError, match="label 6 is no class"):
        open_folder(root, data_dir)


def test_a_file_that_vanishes_later_is_named(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    data = open_folder(root, data_dir).as_dataset(split="train")
    (root / "train" / "dog" / "dog1.png").unlink()
    with pytest.raises(tf.errors.NotFoundError, match="dog/dog1.png"):
        list(data)


def test_preparing_anew_does_not_delete_the_folder(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train").parent
    builder = open_folder(root, data_dir)
    anew = tfds.download.DownloadConfig(download_mode=tfds.GenerateMode.REUSE_CACHE_IF_EXISTS)
    builder.download_and_prepare(download_config=anew)
    assert len(read(builder)) == 9


def test_slices_shuffling_and_shards_are_those_of_tfds(tmp_path, data_dir):
    root = classes_in(tmp_path / "set" / "train", count=10).parent
    classes_in(root / "val", count=2)
    builder = open_folder(root, data_dir)

    def paths(split="train", **options):
        skip = {"image": tfds.decode.SkipDecoding()}
        data = builder.as_dataset(split=split, decoders=skip, **options)
        return [example["image"] for example in data.as_numpy_iterator()]

    whole = paths()
    below = [path[len(str(root)) + 1 :] for path in whole]
    assert below == sorted(below, key=lambda path: hashlib.sha256(path).digest())
    assert paths("train[:20%]") == whole[:6]
    assert paths("train[20%:]+validation") == whole[6:] + paths("validation")
    assert builder.info.splits["train"].num_examples == 30

    config = tfds.ReadConfig(shuffle_seed=1)
    once, again = (paths(shuffle_files=True, read_config=config) for _ in range(2))
    assert once == again != whole
    assert sorted(once) == sorted(whole)

    shards = [tfds.ReadConfig(input_context=tf.distribute.InputContext(2, i)) for i in (0, 1)]
    parts = [paths(read_config=config) for config in shards]
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert len(parts[0]) == 15


def test_skipped_decoding_is_made_up_for_by_the_feature(tmp_path, data_dir):
    root = tmp_path / "set"
    masks_in(root, [f"train/{n}" for n in range(4)], palette=True)
    builder = open_folder(root, data_dir)
    skip = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
    features = builder.info.features
    later = builder.as_dataset(split="train", decoders=skip).map(
        lambda x: {name: features[name].decode_example(x[name]) for name in ("image", "mask")}
    )
    for a, b in zip(later.as_numpy_iterator(), read(builder), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["mask"], b["mask"])


def no_folder(root):
    return r"Expected a folder of images. Received: folder='.*set'"


def nothing(root):
    root.mkdir()
    return r"a folder of images for each of two or more classes.* Received: \[\]"


def one_class(root):
    picture(root / "train" / "cat" / "a.png")
    return r"two or more classes.*Received: \['cat'\]"


def empty_class(root):
    classes_in(root / "train")
    (root / "train" / "fox").mkdir()
    return "in every class. Received: none in .*fox"


def class_only_in_val(root):
    classes_in(root / "train", classes={"cat": (1, 2, 3), "dog": (4, 5, 6)})
    classes_in(root / "val")
    return r"every class in train of .* no image of \['emu'\]"


def unlisted_class(root):
    classes_in(root / "train")
    (root / "classes.txt").write_text("cat\ndog\n")
    return r"Expected one of \['cat', 'dog'\], as classes.txt says. Received: .*emu"


def twice_listed_class(root):
    classes_in(root / "train")
    (root / "classes.txt").write_text("cat\ndog\ncat\n")
    return r"classes.txt: expected 2 to 255 different class names.*'cat', 'dog', 'cat'"


def no_train(root):
    classes_in(root / "test")
    return r"Expected images for train.*Received: {'test': 9}"


def too_few(root):
    picture(root / "cat" / "a.png")
    picture(root / "dog" / "a.png")
    return "needs some dozens of images"


def two_validations(root):
    for split in ("train", "val", "validation"):
        classes_in(root / split)
    return "one folder per split in .*: train, val, validation"


def no_mask(root):
    masks_in(root, ["train/0", "train/1"])
    (root / "masks" / "train" / "1.png").unlink()
    return "Expected a mask for .*1.png. Received: no .*1.png"


def black_and_white_masks(root):
    picture(root / "images" / "train" / "0.png")
    mask(root / "masks" / "train" / "0.png", np.eye(9, 12) * 255)
    return "255 stands for void, never for a class. Received: labels from 0 to 0"


BAD_FOLDERS = [
    *(no_folder, nothing, one_class, empty_class, class_only_in_val, unlisted_class),
    *(twice_listed_class, no_train, too_few, two_validations, no_mask, black_and_white_masks),
]


@pytest.mark.parametrize("make", BAD_FOLDERS)
def test_a_folder_that_is_no_dataset_is_explained(tmp_path, data_dir, make):
    said = make(tmp_path / "set")
    with pytest.raises(FolderError, match=said):
        open_folder(tmp_path / "set", data_dir)


def test_the_way_to_treat_bad_images_is_one_of_two(tmp_path, data_dir):
    with pytest.raises(FolderError, match="Received: on_bad_image='ignore'"):
        open_folder(tmp_path, data_dir, on_bad_image="ignore")
