"""Images, crops, sizes and windows against TensorFlow and the pipeline that training evaluates."""

import ast
import functools
import io
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import CLASSES, photo
from larq_groupnet_runtime import InputError, Interpreter, images, pictures
from larq_groupnet_runtime.description import Description
from larq_groupnet_runtime.full_image import probabilities, softmax
from larq_groupnet_runtime.pictures import overlay, palette_of

ORIENTATION = 0x112

SIZES = [
    ((300, 451), (224, 224)),
    ((1500, 2001), (224, 224)),
    ((100, 50), (224, 97)),
    ((33, 500), (32, 32)),
    ((7, 5), (16, 3)),
    ((1, 1), (5, 4)),
    ((64, 48), (64, 48)),
]


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def by_tensorflow(data):
    """Pixels as TensorFlow decodes them, by the accurate transform for a JPEG, as Pillow does."""
    if data[:2] == b"\xff\xd8":
        return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_is_tensorflow_s_antialiased_bilinear(before, after, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (*before, channels), dtype=np.uint8)
    expected = tf.image.resize(tf.cast(pixels, tf.float32), after, antialias=True).numpy()
    found = images.resize(pixels, after)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)  # Of 255.


@pytest.mark.parametrize("share", [0.3, 0.75, 0.875, 0.99])
def test_central_crop_is_that_of_training(share):
    from larq_groupnet.data import images as training

    for shape in [(97, 64, 3), (64, 97, 3), (50, 50, 3)]:
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        expected = training.central_crop(tf.constant(pixels), share).numpy()
        np.testing.assert_array_equal(images.central_crop(pixels, share), expected)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 60, "subsampling": 2}),
        ("JPEG", {"quality": 75, "subsampling": 1, "progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
    ],
)
def test_read_image_gives_the_pixels_of_tensorflow(kind, options):
    data = encoded(photo(203, 301), kind, **options)
    np.testing.assert_array_equal(images.read_image(data), by_tensorflow(data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_read_image_of_any_png_gives_the_pixels_of_tensorflow(mode):
    if mode == "I;16":
        values = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
        data = encoded(values, "PNG")
    else:
        image = Image.fromarray(photo(20, 30)).convert(mode[0] if mode == "LA" else mode)
        if mode.endswith("A"):
            image.putalpha(Image.fromarray(photo(20, 30, 1, 1)))
        file = io.BytesIO()
        image.save(file, "PNG")
        data = file.getvalue()
    np.testing.assert_array_equal(images.read_image(data), by_tensorflow(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image_turns_a_photo_upright(orientation):
    upright = photo(24, 40)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(np.ascontiguousarray(stored), "PNG", exif=exif)
    np.testing.assert_array_equal(images.read_image(data), upright)
    jpeg = encoded(np.ascontiguousarray(stored), "JPEG", exif=exif)
    from larq_groupnet.data.images import decode_image

    np.testing.assert_array_equal(images.read_image(jpeg), decode_image(jpeg))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_read_image_ignores_nonsense_in_exif(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = photo(24, 40)
    data = encoded(pixels, "PNG", exif=exif)
    np.testing.assert_array_equal(images.read_image(data), pixels)
    broken = encoded(pixels, "PNG", exif=b"Exif\0\0 no header")
    np.testing.assert_array_equal(images.read_image(broken), pixels)


def test_read_image_takes_paths_files_images_and_arrays(tmp_path):
    pixels = photo(10, 12)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, Image.open(path), pixels]
        for source in sources:
            np.testing.assert_array_equal(images.read_image(source), pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    np.testing.assert_array_equal(images.read_image(path, 1), grey)
    np.testing.assert_array_equal(images.read_image(grey, 1), grey)
    np.testing.assert_array_equal(images.read_image(grey[..., 0]), np.repeat(grey, 3, -1))


@pytest.mark.parametrize(
    "damaged",
    [b"", b"GIF89a", b"not an image", encoded(photo(40, 40), "JPEG")[:400]],
    ids=["empty", "header", "text", "truncated"],
)
def test_read_image_refuses_what_is_none_in_one_line(damaged):
    with pytest.raises(InputError, match="these bytes: expected an image. Received: ") as caught:
        images.read_image(damaged)
    assert "\n" not in str(caught.value)


def test_read_image_refuses_an_image_bomb_before_it_decodes():
    data = bytearray(encoded(photo(8, 8), "PNG"))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    import binascii

    data[29:33] = binascii.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(InputError, match="50000 x 50000 pixels|exceeds limit of"):
        images.read_image(bytes(data))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
    + [np.zeros(shape, np.uint8) for shape in [(0, 10), (10, 0, 3), (0, 0, 1), (), (4,)]],
)
def test_read_image_refuses_other_arrays(array):
    with pytest.raises(InputError, match=r"expected pixels of shape .* Received: shape=") as caught:
        images.read_image(array)
    assert f"shape={array.shape}," in str(caught.value)


def test_read_image_refuses_what_no_one_can_read(tmp_path):
    image = Image.fromarray(photo(40, 40))
    image.save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    for given in (bytearray(data), memoryview(data), data):
        np.testing.assert_array_equal(images.read_image(given), np.asarray(image))
    os.mkfifo(tmp_path / "pipe.png")
    for wrong, message in [
        (None, "expected an image: a path, bytes or an open file. Received: NoneType"),
        ([[1, 2]], "Received: list"),
        ("a\0b.png", "expected a path. Received: 'a.x00b.png'"),
        (tmp_path, "expected an image. Received: a folder"),
        (tmp_path / "pipe.png", "pipe.png: expected an image. Received: a pipe"),
        (Image.new("RGB", (0, 5)), "image: expected an image. Received: 0 x 5 pixels"),
        (Image.new("F", (4, 4)), "image: expected an image. Received: mode F instead of"),
        (Image.new("I", (4, 4)), "image: expected an image. Received: mode I instead of"),
        (Image.open(io.BytesIO(data[:1000])), "image: expected an image. Received: "),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            images.read_image(wrong)
        assert "\n" not in str(caught.value)


def test_a_folder_is_listed_as_training_does(tmp_path):
    from larq_groupnet.data import listing

    assert images.SUFFIXES == listing.SUFFIXES
    assert images.JUNK == listing._JUNK
    for suffix in listing.SUFFIXES:
        (tmp_path / f"x{suffix.upper()}").touch()
    for name in ("._x.jpg", ".cache/x.jpg", "__MACOSX/x.jpg", "Thumbs.db", "a.heic", "z/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    found, others = images.images_in(tmp_path)
    expected = [*listing.images_in(tmp_path)]
    expected.remove(str(tmp_path / "self.jpg"))
    assert list(map(str, found)) == expected and len(found) == len(listing.SUFFIXES)
    assert [file.name for file in others] == ["a.heic", "self.jpg", "b.txt"]


@pytest.mark.parametrize(
    ("mode", "compression"),
    [("RGB", None), ("RGB", "jpeg"), ("L", "tiff_lzw"), ("L", "jpeg"), ("RGBA", "tiff_lzw")],
)
def test_tiff_is_read_as_training_reads_it(tmp_path, mode, compression):
    from larq_groupnet.data.images import read_image

    image = Image.fromarray(photo(20, 30)).convert(mode)
    image.save(tmp_path / "x.tif", compression=compression)
    expected = read_image(tmp_path / "x.tif").numpy()
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.tif"), expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset for `folder:` of two classes: PNG and JPEG photos of several sizes."""
    root = tmp_path_factory.mktemp("dataset")
    for number, (height, width) in enumerate([(60, 80), (31, 200), (24, 32), (300, 211)]):
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                file = root / split / name / f"{number}.{'jpg' if name == 'dog' else 'png'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photo(height, width, number)).save(file)
    return root


def test_preprocess_is_what_training_evaluates_on(labels, folder, tmp_path):
    from larq_groupnet.data.pipeline import Pipeline, prepare
    from larq_groupnet.data.reading import Reading

    network = Interpreter(labels)
    builder = prepare(f"folder:{folder}", tmp_path)
    pipeline = Pipeline(builder, Reading((24, 32), "imagenet", central_crop=0.75), 1)
    expected = {}
    for batch, label in pipeline.eval_batches("test").as_numpy_iterator():
        expected.setdefault(int(label[0]), []).append(batch)
    for label, name in enumerate(["cat", "dog"]):
        files = sorted((folder / "test" / name).iterdir())
        found = np.concatenate([network.preprocess(file) for file in files])
        truth = np.concatenate(expected[label])
        assert found.shape == truth.shape == (4, 24, 32, 3)
        # By default TensorFlow decodes a JPEG by its fast transform: up to 6 of 255 in a pixel.
        tolerance = 5e-6 if name == "cat" else 6 / 57
        # The dataset yields its images in an order of its own.
        order = [np.abs(truth - one).mean((1, 2, 3)).argmin() for one in found]
        assert sorted(order) == [0, 1, 2, 3]
        np.testing.assert_allclose(found, truth[order], atol=tolerance)


def by_place(windows):
    """Logits that depend on the pixel, its place in the window and the window's mean."""
    count, height, width, _ = windows.shape
    rows, columns = np.mgrid[:height, :width]
    mean = windows.mean((1, 2, 3))[:, None, None]
    planes = (0.1 * columns + windows[..., 0], 0.2 * rows - windows[..., 1], mean)
    return np.stack([np.broadcast_to(p, windows.shape[:3]) for p in planes], -1).astype("float32")


@pytest.mark.parametrize("shape", [(12, 8), (5, 3), (13, 8), (1, 40), (31, 29)])
@pytest.mark.parametrize(
    ("scales", "letterbox"), [((1.0,), False), ((0.5, 1.0, 1.7), False), ((), False), ((), True)]
)
@pytest.mark.parametrize("flip", [False, True])
def test_windows_scales_and_flip_are_those_of_predict(shape, scales, letterbox, flip):
    from larq_groupnet.data.reading import Reading
    from larq_groupnet.inference.full_image import FullImage

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    how = {"normalisation": "imagenet", "scales": scales, "flip": flip, "letterbox": letterbox}
    view = FullImage(Reading((12, 8), **how))
    (expected,) = view.scores(by_place, [image.astype(np.float32)])
    found = probabilities(by_place, image, (12, 8), Description(**how))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (24, 32), (300, 7), (3, 500), (1, 1)])
def test_letterbox_is_that_of_training(shape):
    from larq_groupnet.data.reading import Reading

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = Reading((24, 32), "imagenet", letterbox=True)(image).numpy()
    extent = images.fitted(image, (24, 32))
    found = images.pad(images.normalise(images.resize(image, extent), "imagenet"), (24, 32))
    np.testing.assert_allclose(found, expected, atol=5e-6)
    # The longer side fits, and the aspect is kept to half a pixel.
    assert extent[0] == 24 or extent[1] == 32
    scale = min(24 / shape[0], 32 / shape[1])
    assert all(
        abs(side - scale * own) <= 0.5 or side == 1 for side, own in zip(extent, shape, strict=True)
    )


def test_softmax_is_tensorflow_s():
    logits = np.random.default_rng(0).normal(0, 50, (4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), tf.nn.softmax(logits), atol=1e-6)


def test_limit_of_pixels_is_that_of_training():
    from larq_groupnet.data.reading import MAX_PIXELS

    assert images.MAX_PIXELS == MAX_PIXELS


def test_colours_are_those_of_the_main_package():
    from larq_groupnet.report import overlay as main

    assert pictures.MOST_HEIGHT == main.MOST_HEIGHT
    others = ["_background_", "Background", "_other_"]
    many = [str(number) for number in range(50)]
    for names in (CLASSES, CLASSES[1:], many, *([name, "cat"] for name in others)):
        np.testing.assert_array_equal(palette_of(names), main.palette_of(names))


@pytest.mark.parametrize("size", [(1440, 30), (480, 1440)])
def test_legend_grows_with_the_longer_side(size):
    heights = []
    for width, height in ((480, 30), size):
        classes = np.zeros((height, width), int)
        classes[:, width // 2 :] = 1
        drawn = overlay(np.zeros((height, width, 3), np.uint8), classes, ["cat", "dog"])
        heights.append(drawn.height - height)
    assert heights[1] > 2 * heights[0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2000, 1), (480, 4000)),
        ((9000, 3), (480, 9000)),
        ((4, 2), (480, 960)),
        ((2, 481), (481, 2)),
    ],
)
def test_narrow_image_is_enlarged_up_to_a_height(shape, expected):
    classes = np.zeros(shape, int)
    classes[: shape[0] // 2] = 1
    drawn = overlay(np.zeros((*shape, 3), np.uint8), classes, ["cat", "dog"])
    assert drawn.width == expected[0] and 0 < drawn.height - expected[1] < 400
    assert drawn.getpixel((0, 0)) != (255, 255, 255)
    if shape[1] < 2:
        assert drawn.getpixel((479, 0)) == (255, 255, 255)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that lets Pillow find the fonts of a folder alone."""

    def find(folder):
        (tmp_path / "fonts").symlink_to(folder)
        monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
        for cached in (pictures._fonts, pictures._font_of):
            monkeypatch.setattr(pictures, cached.__name__, functools.cache(cached.__wrapped__))

    return find


def legend(name):
    classes = np.zeros((10, 480), int)
    drawn = overlay(np.zeros((10, 480, 3), np.uint8), classes, [name])
    return np.asarray(drawn)[10:].astype(int)


def test_legend_has_letters_of_an_installed_font(installed):
    import matplotlib

    installed(f"{matplotlib.get_data_path()}/fonts")
    assert pictures.missing_letters(["кот é", "λ", "cat"]) == ""
    assert pictures.missing_letters(["犬 кот 猫犬"]) == "犬猫"
    found = [legend(name) for name in ("кот", "код", "кат", "???")]
    assert not any(np.array_equal(a, b) for i, a in enumerate(found) for b in found[:i])
    np.testing.assert_array_equal(legend("犬 猫"), legend("? ?"))


def test_legend_without_fonts_has_question_marks(installed, tmp_path):
    installed(tmp_path)
    missing = pictures.missing_letters(["кот", "cat"])
    assert missing == "кот"
    np.testing.assert_array_equal(legend("кот"), legend("???"))
    assert not np.array_equal(legend("cat"), legend("???"))


def test_types_are_joined_only_in_annotations():
    """`isinstance(x, a | b)` ends with an error on Python 3.9."""
    for file in Path(images.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                assert not isinstance(node.args[1], ast.BinOp), f"{file}:{node.lineno}"
