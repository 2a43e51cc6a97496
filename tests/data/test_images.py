"""One function reads every image: orientation, colours, sizes, and size limits."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from larq_groupnet.data import DatasetError, images
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.layouts import FolderError
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading
from larq_groupnet.inference.predict import read_pixels

ROWS, COLUMNS = np.mgrid[:40, :64]
PIXELS = np.stack([ROWS * 6, COLUMNS * 4, 255 - ROWS - COLUMNS], -1).astype("u1")


def saved(path, orientation=None, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    Image.fromarray(PIXELS).convert(mode).save(path, exif=exif, **options)
    return path


def upright(path):
    """The image as Pillow, which is independent of TensorFlow's decoders, shows it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_image_is_read_upright(tmp_path, suffix, orientation):
    path = saved(tmp_path / f"a.{suffix}", orientation)
    expected = upright(path)
    assert expected.shape == ((64, 40, 3) if orientation >= 5 else (40, 64, 3))
    pixels = images.read_image(path).numpy()
    assert pixels.shape == expected.shape and images.image_size(path) == expected.shape[:2]
    np.testing.assert_array_equal(pixels, expected)
    data = tf.io.read_file(str(path))
    part = images.decode_image(data, part=lambda shape: [3, 5, shape[0] - 9, 20])
    assert np.abs(part.numpy().astype(int) - pixels[3:-6, 5:25]).mean() < 1
    np.testing.assert_array_equal(read_pixels(path, 3), pixels)


def test_exif_behind_other_headers_is_found(tmp_path):
    """Cameras write a JFIF header first, and editors a colour profile."""
    path = saved(tmp_path / "a.jpg", 6, icc_profile=bytes(300))
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    data = path.read_bytes()
    if data[2:4] != jfif[:2]:
        path.write_bytes(data[:2] + jfif + data[2:])
    assert images.read_image(path).shape == (64, 40, 3)
    png = saved(tmp_path / "a.png", 6, dpi=(72, 72))
    assert images.read_image(png).shape == (64, 40, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("broken", [b"", b"II*\0\x08\0\0\0\xff\xff", b"nonsense"])
def test_broken_exif_turns_nothing(tmp_path, broken):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0" + broken)
    assert images.read_image(path).shape == (40, 64, 3)


def test_training_evaluation_and_predict_read_a_photo_alike(tmp_path):
    for name in ("a", "b"):
        for number in range(3):
            saved(tmp_path / "set" / name / f"{number}.jpg", 6, quality=95)
    pipeline = Pipeline(open_folder(tmp_path / "set", tmp_path), Reading((64, 40)), 2)
    seen = (read_pixels(tmp_path / "set" / "a" / "0.jpg", 3) / 127.5 - 1)[None]
    for batches in (pipeline.train_batches(1), *map(pipeline.eval_batches, ("train", "test"))):
        read, _ = next(iter(batches))
        np.testing.assert_allclose(read, np.repeat(seen, len(read), 0), atol=1e-6)


def test_grey_network_reads_colours_as_pillow_does(tmp_path):
    path = saved(tmp_path / "a.png")
    grey = np.asarray(Image.fromarray(PIXELS).convert("L"))[..., None]
    np.testing.assert_array_equal(images.read_image(path, channels=1), grey)
    data = tf.io.read_file(str(path))
    part = images.decode_image(data, 1, part=lambda shape: [1, 2, 3, 4])
    np.testing.assert_array_equal(part, grey[1:4, 2:6])


def test_reading_is_crop_resize_normalise():
    reading = Reading((20, 30), "imagenet", central_crop=0.5)
    crop = tf.constant(PIXELS[10:30, 22:42], tf.float32)
    expected = tf.image.resize(crop, (20, 30), antialias=True).numpy()
    expected = (expected / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(reading(PIXELS), expected, atol=1e-5)
    assert Reading.from_dict(reading.to_dict()) == reading
    assert Reading.from_dict({"scales": [0.5, 1], "flip": True}).scales == (0.5, 1)
    several = from_arrays("read", ([PIXELS] * 2, [0, 1]), ([PIXELS], [0]), class_names="ab")
    pipeline = Pipeline(several, reading, 1)
    np.testing.assert_array_equal(next(iter(pipeline.eval_batches("test")))[0][0], reading(PIXELS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normalisation": "imagnet"}, "one of symmetric, imagenet.*Did you mean 'imagenet'"),
        ({"central_crop": 0}, r"a share in \(0, 1\]. Received: central_crop=0"),
        ({"scales": [0.5, "1"]}, "scales: expected finite numbers above 0"),
        ({"size": [224]}, "size: expected height and width"),
        ({"sharpened": True}, "Received: sharpened. A newer version"),
    ],
)
def test_reading_that_is_not_understood_is_refused(values, message):
    with pytest.raises(DatasetError, match=message):
        Reading.from_dict(values)


def bomb(kind):
    """A small file that claims to be an image of 40,000 x 40,000 pixels."""
    if kind == "png":
        header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
        packed = [
            struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
            for t, d in chunks
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, {"jpg": "JPEG"}.get(kind, kind))
    data = file.getvalue()
    if kind == "jpg":
        place = data.index(b"\xff\xc0") + 5
        return data[:place] + struct.pack(">HH", 40000, 40000) + data[place + 4 :]
    return data[:18] + struct.pack("<ii", 40000, 40000) + data[26:]


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
def test_image_bomb_is_refused_before_it_is_decoded(tmp_path, kind):
    path = tmp_path / "set" / "a" / f"bomb.{kind}"
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        saved(tmp_path / "set" / name)
    path.write_bytes(bomb(kind))
    with pytest.raises((tf.errors.OpError, DatasetError), match="at most 134217728 pixels"):
        images.read_image(path)
    with pytest.raises(FolderError, match=rf"a/bomb.{kind}: expected at most 134217728 pixels"):
        open_folder(tmp_path / "set", tmp_path)


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (375, 500), (480, 481), (7, 3)])
def test_centre_is_that_of_the_image_with_its_shorter_side_scaled(height, width):
    """Compared with Pillow's scaling and cropping; the mask encodes each pixel's column and row."""
    side = 48
    rows, columns = np.mgrid[:height, :width]
    mask = (rows * 1000 + columns)[..., None].astype("int32")
    pixels = np.stack([rows * 255 / height, columns * 255 / width, 0 * rows], -1).astype("u1")
    image, found = images.centre(tf.cast(pixels, tf.float32), tf.constant(mask), (side, side))
    short = min(height, width)
    size = width * side // short, height * side // short
    box = [(length - side) // 2 for length in size]
    box = (*box, box[0] + side, box[1] + side)
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR).crop(box)
    assert np.abs(image.numpy() - np.asarray(scaled)).mean() < 1
    expected = Image.fromarray(mask[..., 0], "I").resize(size, Image.Resampling.NEAREST).crop(box)
    # Halfway between two pixels, either may be the nearest.
    assert np.mean(found[..., 0] == expected) > 0.97
    assert np.abs(found[..., 0] % 1000 - np.asarray(expected) % 1000).max() <= 1
