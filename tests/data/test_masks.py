"""The meaning of mask values: greys, colours, void, soft edges, odd bit depths."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_groupnet.data import DatasetError, DatasetWarning
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.labels import index_labels, read_labels, read_mapping
from larq_groupnet.data.layouts import FolderError
from larq_groupnet.data.opening import open_dataset, parse_name, prepare
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading


def masked(root, labels, count=4, colour=None):
    """A folder of images whose masks hold labels, or colours of labels."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels, np.uint8)
    for number in range(count):
        Image.new("RGB", labels.shape[1::-1]).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "masks" / f"{number}.png")
    return root


def classes_of(dataset):
    """The class map of the first example, as the pipeline gives it."""
    return next(iter(Pipeline(dataset, Reading((8, 8)), 1).full_images("train")))[1].numpy()


def halves(low, high, size=(6, 8)):
    labels = np.full(size, low)
    labels[:, 4:] = high
    return labels


def test_drawn_greys_are_refused_with_the_remedy_and_mapped_by_it(tmp_path):
    root = masked(tmp_path / "set", halves(0, 128))
    with pytest.raises(FolderError, match=r"2 values between 0 and 128 .*\?mapping=levels"):
        open_dataset(f"folder:{root}", tmp_path)
    dataset = open_dataset(f"folder:{root}?mapping=levels", tmp_path)
    assert dataset.classes == ("level_0", "level_128")
    np.testing.assert_array_equal(classes_of(dataset), halves(0, 1))
    (root / "classes.txt").write_text("ground\npart\n")
    assert open_dataset(f"folder:{root}?mapping=levels", tmp_path).classes == ("ground", "part")


def test_black_and_white_masks_are_two_classes_when_white_is_not_void(tmp_path):
    root = masked(tmp_path / "set", halves(0, 255))
    with pytest.raises(FolderError, match=r"void=none&mapping=levels"):
        open_folder(root, tmp_path)
    dataset = open_dataset(f"folder:{root}?void=none&mapping=levels", tmp_path)
    assert dataset.classes == ("level_0", "level_255")
    np.testing.assert_array_equal(classes_of(dataset), halves(0, 1))


def test_soft_edges_are_refused_with_the_remedy_and_void_by_it(tmp_path):
    soft = np.tile(np.arange(0, 256, 2), (4, 1))
    root = masked(tmp_path / "set", soft)
    with pytest.raises(FolderError, match=r"128 values between 0 and 254 .*If edges are soft"):
        open_folder(root, tmp_path)
    said = r"at most 64 levels, .*Received: 128 values between 0 and 254 .*If edges are soft"
    with pytest.raises(FolderError, match=said):
        open_folder(root, tmp_path, mapping="levels")
    (root / "classes.txt").write_text("ground\npart\n")
    with pytest.raises(FolderError, match=r"the 2 levels .*Received: 128 values .*edges are soft"):
        open_folder(root, tmp_path, mapping="levels")
    (root / "classes.txt").write_text("\n".join(f"name{level}" for level in range(128)))
    assert len(open_folder(root, tmp_path, mapping="levels").classes) == 128
    (root / "classes.txt").unlink()
    (root / "map.txt").write_text("0 ground\n254: part  # the pencil\n* void\n")
    dataset = open_dataset(f"folder:{root}?mapping=map.txt", tmp_path)
    assert dataset.classes == ("ground", "part")
    expected = np.where(soft == 0, 0, np.where(soft == 254, 1, 255))
    np.testing.assert_array_equal(classes_of(dataset), expected)


def test_labelmap_of_cvat_is_a_mapping(tmp_path):
    file = tmp_path / "labelmap.txt"
    file.write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nthe cat:250,50,83:head,tail:runs\n"
    )
    names, meaning = read_mapping(file, ())
    assert names == ["background", "the cat"]
    assert dict(meaning.colours) == {0: 0, 0xFA3253: 1}


@pytest.mark.parametrize("title", ["name,r,g,b\n", "name, r, g, b\n", ""])
def test_class_dict_of_kaggle_is_a_mapping(tmp_path, title):
    file = tmp_path / "class_dict.csv"
    file.write_text(f"{title}the sky,0, 255,255\n2 lanes,64,128,64\nvoid,0,0,0\n")
    names, meaning = read_mapping(file, ())
    assert names == ["the sky", "2 lanes"]
    assert dict(meaning.colours) == {0x00FFFF: 0, 0x408040: 1, 0: 255}


def test_classes_of_roboflow_are_a_mapping(tmp_path):
    file = tmp_path / "_classes.csv"
    file.write_text("Pixel Value, Class\n0, background\n1, part\n")
    names, meaning = read_mapping(file, ())
    assert (names, meaning.lookup[:2].tolist()) == (["background", "part"], [0, 1])


def test_class_that_no_mask_holds_is_said(tmp_path):
    root = masked(tmp_path / "set", halves(0, 2))
    with pytest.warns(DatasetWarning, match="no mask holds class_1"):
        assert len(open_folder(root, tmp_path).classes) == 3


def test_void_may_be_another_label(tmp_path):
    root = masked(tmp_path / "set", halves(1, 11))
    names = [f"name{n}" for n in range(11)]
    (root / "classes.txt").write_text("\n".join(names))
    with pytest.raises(
        FolderError, match=r"4 bad files.*label 11 is not a class.*folder:PATH\?void=11"
    ):
        open_folder(root, tmp_path)
    dataset = open_dataset(f"folder:{root}?void=11", tmp_path)
    assert dataset.classes == tuple(names)
    np.testing.assert_array_equal(classes_of(dataset), halves(1, 255))


def test_void_may_come_first(tmp_path):
    labels = halves(0, 1)
    labels[0] = 2
    root = masked(tmp_path / "set", labels)
    (root / "classes.txt").write_text("a\nb\n")
    expected = halves(255, 0)
    expected[0] = 1
    np.testing.assert_array_equal(classes_of(open_folder(root, tmp_path, void="0")), expected)


COLOURS = {(128, 0, 0): "roof", (0, 64, 128): "wall", (10, 10, 10): "roof", (0, 0, 0): "void"}


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_colours_are_classes_by_a_file(tmp_path, mode):
    pixels = np.array([[*COLOURS, (9, 9, 9)]], np.uint8)
    root = masked(tmp_path / "set", np.zeros((1, 5)))
    for file in (root / "masks").iterdir():
        image = Image.fromarray(pixels)
        (image.quantize(8) if mode == "P" else image.convert(mode)).save(file)
    lines = "\n".join(f"{r} {g} {b}\t{name}" for (r, g, b), name in COLOURS.items())
    (root / "label_colors.txt").write_text(lines)
    with pytest.raises(FolderError, match="colour 9 9 9 is not a class"):
        prepare(f"folder:{root}?mapping=label_colors.txt", tmp_path)
    (root / "label_colors.txt").write_text(lines + "\n* void")
    dataset = open_dataset(f"folder:{root}?mapping=label_colors.txt", tmp_path)
    assert dataset.classes == ("roof", "wall")
    np.testing.assert_array_equal(classes_of(dataset), [[0, 1, 0, 255, 255]])


def test_colours_are_read_about_as_fast_as_greys(tmp_path):
    greys = np.random.RandomState(0).randint(0, 4, (15, 20), np.uint8).repeat(64, 0).repeat(64, 1)
    colours = np.array([*COLOURS], np.uint8)[greys]
    files = [tmp_path / "grey.png", tmp_path / "colour.png"]
    Image.fromarray(greys).save(files[0])
    Image.fromarray(colours).save(files[1])
    (tmp_path / "map").write_text("".join(f"{r} {g} {b} {n}\n" for (r, g, b), n in COLOURS.items()))
    meaning = read_mapping(tmp_path / "map", (255,))[1]
    expected = np.array([0, 1, 0, 255])[greys]
    np.testing.assert_array_equal(meaning.read(files[1])[..., 0], expected)

    def seconds(read, path):
        start = time.process_time()
        read(path)
        return time.process_time() - start

    reads = (index_labels().read, meaning.read)
    pairs = [[seconds(*x) for x in zip(reads, files, strict=True)] for _ in range(4)]
    grey, colour = np.min(pairs, 0)
    assert colour < 12 * grey, "sorting all pixels takes 20 times as long"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 a\n0 b\n", "Received: '0 b' in line 2"),
        ("0 a\n300 b\n", "Received: '300 b' in line 2"),
        ("0 a\nb\n", "Received: 'b' in line 2"),
        ("0 a\n1 a\n", r"2 to 255 classes.*Received: \['a'\]"),
        ("0 a\nname,r,g,b\n", "Received: 'name,r,g,b' in line 2"),
        ("0 a\n1 2 3 b\n", "either grey values or colours"),
    ],
)
def test_wrong_mapping_is_named(tmp_path, text, message):
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_folder(
            masked(tmp_path / "set", halves(0, 1)), tmp_path, mapping=str(tmp_path / "map.txt")
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder:{}?vod=1", r"one of void, mapping.*Received: vod.*Did you mean 'void'"),
        ("folder:{}?void=x", "values of 0 to 255.*Received: void=x"),
        ("folder:{}?mapping=none.txt", r"expected a file.*Received: none\.txt"),
        ("digits?void=1", "no options with digits"),
        ("{}", r"Did you mean folder:.*set\?$"),
        ("{}?void=1", r"Did you mean folder:.*set\?void=1\?$"),
        ("folder:{}?void", "expected OPTION=VALUE"),
        ("folder:{}?void=", "expected OPTION=VALUE"),
        ("folder:{}?mapping=&void=1", "expected OPTION=VALUE"),
        ("folder:{}?void=1&", "expected OPTION=VALUE"),
        ("folder:{}?void=1&void=2", "expected each option once, such as void=0,11"),
        ("folder:", "folder: expected folder:PATH. Received: no path"),
        ("folder", "folder: expected folder:PATH. Received: no path"),
        ("folder:?void=1", "folder: expected folder:PATH. Received: no path"),
    ],
)
def test_wrong_option_is_named(tmp_path, name, message):
    root = masked(tmp_path / "set", halves(0, 1))
    with pytest.raises(DatasetError, match=message):
        open_dataset(name.format(root), tmp_path)


def test_question_mark_in_the_name_of_a_folder_is_no_option(tmp_path):
    root = masked(tmp_path / "why?void=1", halves(0, 1))
    assert parse_name(f"folder:{root}") == ("folder", str(root), {})
    assert open_dataset(f"folder:{root}", tmp_path).classes == ("class_0", "class_1")
    assert parse_name("folder:~/x?void=11&mapping=a b") == (
        "folder",
        "~/x",
        {"void": "11", "mapping": "a b"},
    )
    assert parse_name("folder:x?") == ("folder", "x", {})


def grey_png(labels, depth):
    """Writes a grey PNG of 1, 2 or 4 bits, which Pillow cannot."""
    rows = np.asarray(labels, np.uint8)
    bits = np.unpackbits(rows[..., None], -1)[..., 8 - depth :].reshape(len(rows), -1)
    data = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", rows.shape[1], len(rows), depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_levels_of_few_bits_are_not_scaled(tmp_path, depth):
    labels = np.random.RandomState(0).randint(0, 2**depth, (6, 8))
    root = masked(tmp_path / "set", labels)
    for file in (root / "masks").iterdir():
        file.write_bytes(grey_png(labels, depth))
        np.testing.assert_array_equal(read_labels(file)[..., 0], labels)
    np.testing.assert_array_equal(classes_of(open_folder(root, tmp_path)), labels)


def test_split_of_unpainted_photos_is_left_out(tmp_path):
    pixels = np.array([[*COLOURS]], np.uint8)
    for name in ("train/0", "train/1", "train/2", "test/0"):
        for part in ("images", "masks"):
            (tmp_path / part / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / part / f"{name}.png")
    (tmp_path / "masks/test/0.png").unlink()
    text = "".join(f"{r} {g} {b} {name}\n" for (r, g, b), name in COLOURS.items())
    (tmp_path / "map").write_text(text)
    with pytest.warns(DatasetWarning, match=r"left out 1 photo .*images/test/0\.png"):
        dataset = open_folder(tmp_path, tmp_path / "data", "skip", mapping="map")
    assert dict(dataset.sizes) == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_greys_saved_as_colours_are_read_as_greys(tmp_path, mode):
    labels = np.random.RandomState(0).randint(0, 2, (6, 8), np.uint8) * 200
    root = masked(tmp_path / "set", labels)
    for file in (root / "masks").iterdir():
        Image.fromarray(labels).convert(mode).save(file)
    (root / "map.txt").write_text("0 ground\n200 part\n")
    dataset = prepare(f"folder:{root}?mapping=map.txt", tmp_path)
    np.testing.assert_array_equal(classes_of(dataset), labels // 200)
    with pytest.warns(DatasetWarning, match=r"left out 1 other file \(map\.txt\)"):
        levels = prepare(f"folder:{root}?mapping=levels", tmp_path)
    assert levels.classes == ("level_0", "level_200")
    tinted = np.array(Image.open(file).convert("RGB"))
    tinted[3, 4, 2] ^= 1
    Image.fromarray(tinted).save(file)
    with pytest.raises(FolderError, match="1 bad file.*mode 'RGB'; for colours see mapping"):
        prepare(f"folder:{root}?mapping=map.txt", tmp_path)


@pytest.mark.parametrize("kind", ["two colours", "16 bits", "bmp", "tif"])
def test_other_files_of_labels_are_read(tmp_path, kind):
    labels = np.random.RandomState(0).randint(0, 2, (6, 8))
    root = masked(tmp_path / "set", labels)
    for file in list((root / "masks").iterdir()):
        if kind == "two colours":
            Image.fromarray(labels.astype(bool)).save(file)
        elif kind == "16 bits":
            Image.fromarray(labels.astype(np.uint16)).save(file)
        else:
            file.unlink()
            Image.fromarray(labels.astype("u1")).save(file.with_suffix(f".{kind}"))
    np.testing.assert_array_equal(classes_of(open_folder(root, tmp_path)), labels)


def test_masks_of_jpeg_and_turned_photos_are_refused_with_the_reason(tmp_path):
    root = masked(tmp_path / "set", halves(0, 1))
    exif = Image.Exif()
    exif[0x112] = 6
    for number in range(4):
        Image.new("RGB", (8, 6)).save(root / "images" / f"{number}.png", exif=exif)
    with pytest.raises(FolderError, match="EXIF turns the photo, and the mask fits"):
        open_folder(root, tmp_path)
    for number in range(4):
        Image.new("RGB", (6, 8)).save(root / "images" / f"{number}.png")
    with pytest.raises(FolderError, match=r"a mask of \(6, 8\) pixels for an image of \(8, 6\); `"):
        open_folder(root, tmp_path)
    file = io.BytesIO()
    Image.new("L", (8, 6)).save(file, "JPEG")
    for path in (root / "masks").iterdir():
        path.write_bytes(file.getvalue())
    with pytest.raises(FolderError, match="not as JPEG"):
        open_folder(root, tmp_path)


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[0, 0.5]], np.float32),
        np.array([[0, np.nan]], np.float32),
        np.array([[0, np.inf]], np.float32),
        np.array([[0, -1]], np.int32),
        np.array([[0, 256]], np.int32),
    ],
)
def test_masks_of_other_numbers_than_labels_are_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "mask.tif")
    with pytest.raises(ValueError, match=r"whole numbers of 0 to 255, not .* TIFF of mode '[FI]'"):
        read_labels(tmp_path / "mask.tif")
    (tmp_path / "map").write_text("0 0 0 a\n1 1 1 b\n")
    with pytest.raises(ValueError, match="colours have 8 bits per channel; this TIFF has mode"):
        read_mapping(tmp_path / "map", (255,))[1].read(tmp_path / "mask.tif")
    whole = np.array([[0, 255]], pixels.dtype)
    Image.fromarray(whole).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif")[..., 0], whole)


def test_grey_gif_without_a_class_keeps_the_others(tmp_path):
    for name, low, high in (("a.gif", 0, 2), ("b.gif", 1, 2), ("c.gif", 2, 255)):
        Image.fromarray(halves(low, high).astype("u1")).save(tmp_path / name)
        np.testing.assert_array_equal(read_labels(tmp_path / name)[..., 0], halves(low, high))
    coloured = Image.fromarray(halves(0, 1).astype("u1"), "P")
    coloured.putpalette([255, 0, 0, 0, 255, 0])
    coloured.save(tmp_path / "d.gif")
    np.testing.assert_array_equal(read_labels(tmp_path / "d.gif")[..., 0], halves(0, 1))


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossy_webp_masks_are_refused(tmp_path, mode, frames):
    (tmp_path / "map").write_text("0 0 0 a\n1 1 1 b\n")
    meanings = index_labels(), read_mapping(tmp_path / "map", (255,))[1]
    pixels = np.random.RandomState(0).randint(0, 2, (16, 16), np.uint8).repeat(3, 1)
    pixels = pixels.reshape(16, 16, 3)
    image = Image.fromarray(pixels).convert(mode)
    image.putalpha(100) if mode == "RGBA" else None
    more = {"save_all": True, "append_images": [image.rotate(90)]} if frames == 2 else {}
    for meaning in meanings:
        image.save(tmp_path / "lossy.webp", quality=50, **more)
        with pytest.raises(ValueError, match="stored without loss, .* not as lossy WEBP"):
            meaning.read(tmp_path / "lossy.webp")
        image.save(tmp_path / "whole.webp", lossless=True, exact=True, **more)
        np.testing.assert_array_equal(meaning.read(tmp_path / "whole.webp"), pixels[..., :1])


def test_lossy_tiff_masks_are_refused(tmp_path):
    (tmp_path / "map").write_text("0 0 0 a\n1 1 1 b\n")
    image = Image.fromarray(halves(0, 1).astype("u1"))
    for meaning in (index_labels(), read_mapping(tmp_path / "map", (255,))[1]):
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            image.save(tmp_path / "mask.tif", compression=compression)
            np.testing.assert_array_equal(meaning.read(tmp_path / "mask.tif")[..., 0], halves(0, 1))
        image.save(tmp_path / "mask.tif", compression="jpeg")
        with pytest.raises(ValueError, match="not as TIFF with jpeg compression"):
            meaning.read(tmp_path / "mask.tif")


def test_number_sign_in_a_name_is_no_comment(tmp_path):
    (tmp_path / "map").write_text("# all\n0 C\n1 C# # sharp\n  # more\n2 F#\t#x\n")
    assert read_mapping(tmp_path / "map", (255,))[0] == ["C", "C#", "F#"]


def test_loop_of_ones_own_learns_from_masks_with_void():
    masks = np.zeros((8, 8, 8), "u1")
    masks[:, :4] = 1
    masks[:, 0] = 255
    arrays = from_arrays("void", (np.repeat(masks[..., None], 3, -1), masks))
    model = tf.keras.Sequential([tf.keras.layers.Conv2D(2, 1, input_shape=(8, 8, 3))])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile("sgd", loss)
    batches = Pipeline(arrays, Reading((8, 8)), 2).train_batches(2)
    history = model.fit(batches, steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
