"""`predict` on real files: every form of a network, images of any size, and errors."""

import csv
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from near_ties import assert_same_classes, decided
from PIL import Image
from runs import command, without_description

from larq_groupnet import cli
from larq_groupnet.data import DatasetWarning
from larq_groupnet.data.images import normalise
from larq_groupnet.data.reading import Reading
from larq_groupnet.deploy import ConversionError, convert
from larq_groupnet.deploy.description import NAME, read_description, with_description
from larq_groupnet.deploy.int8 import convert_int8, quantize
from larq_groupnet.errors import MissingFileError, OutputError, RecipeError, UserError
from larq_groupnet.inference.predict import (
    NoImagesError,
    find_images,
    predict_files,
    read_pixels,
)
from larq_groupnet.inference.sources import Predictor, SourceError, load_predictor
from larq_groupnet.runs.saved import describe_run, load_run
from larq_groupnet.runs.source import find_source
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.task import Task
from larq_groupnet.training import Recipe
from larq_groupnet.weights import packed
from larq_groupnet.weights.metadata import Metadata
from larq_groupnet.weights.registry import RegistryError, register

CLASSES = ("background", "cat", "dog", "cat and dog")


def picture(path, size, seed=0, mode="RGB"):
    """Saves an image with blots of colour, of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blots = np.random.RandomState(seed).randint(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    picture(folder / "large.png", (70, 45))
    picture(folder / "sub" / "small.jpg", (20, 11), 1)
    picture(folder / "grey.png", (32, 32), 2, "L")
    (folder / "notes.txt").write_text("no image")
    return folder


def masks_in(folder):
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as mask:
            assert mask.mode == "P"
            found[path.relative_to(folder).as_posix()] = np.asarray(mask)
    return found


def test_masks_hold_the_classes_at_the_size_of_the_image(dense_run, images, tmp_path):
    out = tmp_path / "out"
    done, passed_over = predict_files(load_predictor(dense_run), images, out)
    assert (done, passed_over) == (3, [])
    masks = masks_in(out / "masks")
    shapes = {"grey.png": (32, 32), "large.png": (45, 70), "sub/small.png": (11, 20)}
    assert {name: mask.shape for name, mask in masks.items()} == shapes
    overlays = {p.relative_to(out / "overlays").as_posix() for p in out.glob("overlays/**/*.png")}
    assert overlays == set(shapes)

    pixels = np.asarray(Image.open(images / "grey.png").convert("RGB"), "float32")
    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    logits = load_run(dense_run)((pixels[None] - mean) / deviation)[0].numpy()
    sure = decided(logits)
    np.testing.assert_array_equal(masks["grey.png"][sure], logits.argmax(-1)[sure])
    assert len(np.unique(np.concatenate([m.ravel() for m in masks.values()]))) > 1


def test_what_is_no_image_is_refused(dense_run):
    predictor = load_predictor(dense_run)
    size, channels = (20, 30), predictor.input_shape[2]
    for shape in (size, (1, *size, channels), (*size, channels + 1), (0, 30, channels)):
        with pytest.raises(SourceError, match=r"pixels \(height, width, \d\) of 0 to 255"):
            predictor(np.zeros(shape, np.uint8))
    with pytest.raises(SourceError, match="floats of at most 0.5; multiply them by 255"):
        predictor(np.full((*size, channels), 0.5))
    with pytest.raises(SourceError, match="Received: scale. Did you mean 'scales'"):
        load_predictor(dense_run, scale=(1.0,))


@pytest.mark.parametrize("flag", ["scales=0.5", "flip"])
def test_network_of_labels_takes_no_scales(label_run, flag, tmp_path, capsys):
    words = ["predict", str(label_run), "a.png", f"--{flag}", f"--output={tmp_path / 'out'}"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert f"{flag[:4]}" in said and "expected a network that classifies pixels" in said
    assert not list(tmp_path.iterdir())


def test_converted_file_alone_says_the_same(dense_run, dense_file, images, tmp_path):
    keras, lce = load_predictor(dense_run), load_predictor(shutil.copy(dense_file, tmp_path))
    for name in ("large.png", "grey.png"):
        pixels = read_pixels(images / name, 3)
        np.testing.assert_allclose(lce(pixels), keras(pixels), atol=0.02)
        assert_same_classes(lce(pixels), keras(pixels))
    fields = [field.name for field in dataclasses.fields(keras) if field.name != "network"]
    assert [getattr(lce, f) for f in fields] == [getattr(keras, f) for f in fields]
    assert lce.classes == CLASSES and lce.reading.normalisation == "imagenet"


@pytest.mark.slow
def test_file_of_integers_says_what_the_network_with_integers_says(dense_run, images, tmp_path):
    names = ["large.png", "grey.png", "sub/small.jpg"]
    pixels = [read_pixels(images / name, 3) for name in names]
    squares = tf.stack([tf.image.resize(image, (32, 32)) for image in pixels])
    data = normalise(squares, "imagenet").numpy()
    integers = quantize(load_run(dense_run), data)
    description = describe_run(dense_run, "nowhere")
    path = convert_int8(integers, tmp_path / "int8.tflite", data=data, description=description)

    file = load_predictor(path)
    assert file.classes == CLASSES
    keras = dataclasses.replace(file, network=integers.predict_on_batch)
    same = [np.mean(file(image).argmax(-1) == keras(image).argmax(-1)) for image in pixels]
    assert min(same) > 0.9, same
    assert predict_files(file, images, tmp_path / "out") == (3, [])
    np.testing.assert_array_equal(
        masks_in(tmp_path / "out" / "masks")["large.png"], file(pixels[0]).argmax(-1)
    )


def test_release_file_and_a_registered_name_say_the_same(dense_run, images, tmp_path, monkeypatch):
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    model = load_run(dense_run)
    config = Recipe.from_dict(json.loads((dense_run / "recipe.json").read_text())).model
    reading = {"size": [32, 32], "normalisation": "imagenet", "central_crop": 1.0}
    about = Metadata(config, "none", CLASSES, reading, (), "-")
    path = packed.save(model, about, tmp_path / "weights.safetensors")
    register(path, "mine", "tiny")
    pixels = read_pixels(images / "large.png", 3)
    expected = load_predictor(dense_run)(pixels)
    for source in (path, "mine", "tiny:mine"):
        np.testing.assert_array_equal(load_predictor(source)(pixels), expected)
    register(path, "mine", "other")
    with pytest.raises(RegistryError, match="tiny:mine, other:mine|other:mine, tiny:mine"):
        load_predictor("mine")
    with pytest.raises(FileNotFoundError, match="Did you mean 'mine'"):
        load_predictor("mone")


def test_classes_go_to_a_table_with_the_five_likeliest_or_all(label_run, tmp_path, capsys):
    picture(tmp_path / "in" / "a.png", (50, 40))
    picture(tmp_path / "in" / "b.png", (24, 24), 1)
    predictor = load_predictor(label_run)
    predict_files(predictor, tmp_path / "in", tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(tmp_path / "in" / f"{n}.png") for n in "aaaabbbb"]
    assert [row["rank"] for row in rows] == list("12341234")

    grey = np.asarray(Image.open(tmp_path / "in" / "a.png").convert("L"), "float32")[5:35, 10:40]
    seen = tf.image.resize(grey[None, ..., None], (24, 24), antialias=True) / 127.5 - 1
    expected = load_run(label_run)(seen)[0].numpy()
    order = np.argsort(-expected)
    assert [row["class"] for row in rows[:4]] == [CLASSES[label] for label in order]
    found = [float(row["probability"]) for row in rows[:4]]
    np.testing.assert_allclose(found, expected[order], atol=2e-3)
    assert f"a.png: {CLASSES[order[0]]} {found[0]:.1%}" in capsys.readouterr().out


def test_temperature_of_a_judged_run_goes_with_all_that_is_made_of_it(label_run, tmp_path):
    run = shutil.copytree(label_run, tmp_path / "run")
    pixels = read_pixels(picture(tmp_path / "a.png", (50, 40)), 1)
    raw = load_predictor(run)(pixels)
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "temperature": 2.5}))
    source = find_source(run)
    description = describe_run(run, "nowhere")
    file = convert(load_run(run), tmp_path / "model.tflite", description=description)
    about = source.config, "none", CLASSES, source.preprocessing, (), "-"
    metadata = Metadata(*about, temperature=source.temperature)
    release = packed.save(source.load(), metadata, tmp_path / "weights.safetensors")
    expected = raw ** (1 / 2.5) / (raw ** (1 / 2.5)).sum()
    for each in (run, file, release):
        np.testing.assert_allclose(load_predictor(each)(pixels), expected, atol=1e-3)
    content = file.read_bytes()
    damaged = with_description(
        content[: content.rindex(b"PK\x03\x04")], {**description, "temperature": 0}
    )
    file.write_bytes(damaged)
    with pytest.raises(ConversionError, match="temperature"):
        load_predictor(file)
    with pytest.raises(ConversionError, match="temperature that is not a number above 0"):
        read_description(damaged)


def test_bad_file_is_named_and_passed_over(dense_file, images, tmp_path):
    (images / "broken.png").write_bytes((images / "large.png").read_bytes()[:80])
    (images / "empty.jpg").write_bytes(b"")
    done = command("predict", dense_file, images, f"--output={images / 'out'}")
    assert done.returncode == 1, done.stderr
    assert "3 images predicted" in done.stdout and "2 skipped" in done.stdout
    for name in ("broken.png", "empty.jpg"):
        assert f"{images / name}: skipped, it cannot be decoded" in done.stderr
    assert "Predicting" not in done.stderr, "no bar between the lines, where it is no terminal's"
    assert len(masks_in(images / "out" / "masks")) == 3
    assert len(find_images(images)) == 5, "results are no images to predict"


def test_prediction_names_tell_two_images_apart(dense_file, tmp_path):
    picture(tmp_path / "in" / "a.png", (32, 32))
    picture(tmp_path / "in" / "a.jpg", (40, 30))
    predict_files(load_predictor(dense_file), tmp_path / "in", tmp_path / "out")
    shapes = {name: mask.shape for name, mask in masks_in(tmp_path / "out" / "masks").items()}
    assert shapes == {"a.png.png": (32, 32), "a.jpg.png": (30, 40)}


def test_photo_is_turned_upright_and_grey_is_what_grey_networks_read(tmp_path):
    half = np.zeros((10, 20, 3), np.uint8)
    half[:, :10] = 200
    exif = Image.Exif()
    exif[0x112] = 6  # Rotate by 90 degrees clockwise.
    Image.fromarray(half).save(tmp_path / "photo.jpg", exif=exif, quality=100)
    upright = read_pixels(tmp_path / "photo.jpg", 3)
    assert upright.shape == (20, 10, 3)
    assert upright[:9].min() > 190 and upright[11:].max() < 10
    assert read_pixels(tmp_path / "photo.jpg", 1).shape == (20, 10, 1)


def test_one_image_and_nothing_to_do(dense_run, images, tmp_path):
    assert find_images(images / "notes.txt") == [images / "notes.txt"]
    assert len(find_images(images)) == 3
    with pytest.raises(ValueError, match="expected images"):
        find_images(dense_run)
    with pytest.raises(FileNotFoundError, match="expected an image or a folder"):
        find_images(tmp_path / "nothing")


def test_pipe_is_said_to_be_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="Received: a pipe or a device"):
        find_images(tmp_path / "pipe")


def test_file_that_does_not_say_how_images_are_read_is_refused(dense_file, tmp_path):
    path = tmp_path / "bare.tflite"
    path.write_bytes(without_description(dense_file))
    with pytest.raises(SourceError, match="Give it as normalisation .--normalisation"):
        load_predictor(path)
    predictor = load_predictor(path, normalisation="symmetric", scales=(0.5,), flip=True)
    reading = predictor.reading
    assert (reading.normalisation, reading.scales, reading.flip) == (
        "symmetric",
        (0.5,),
        True,
    )
    assert predictor.classes == ("class_0", "class_1", "class_2", "class_3")


def test_description_follows_the_bytes_that_were_verified(dense_file):
    content, bare = dense_file.read_bytes(), without_description(dense_file)
    description = read_description(content)
    assert description["classes"] == list(CLASSES)
    assert read_description(bare) is None
    assert with_description(bare, description) == content
    with pytest.raises(ConversionError, match="expected a description"):
        read_description(content.replace(b'"classes"', b"'classes'"))
    assert NAME.encode() in content


@pytest.fixture
def constant():
    """A predictor that gives every pixel class 1."""

    def network(images):
        return np.broadcast_to(np.float32([0, 1]), (*images.shape[:3], 2))

    reading = Reading(size=(8, 8), scales=(1.0,))
    return Predictor(network, (8, 8, 3), ("ground", "part"), True, reading, True, Segmentation)


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_image_has_a_result_of_its_own_whatever_the_names(constant, tmp_path):
    names = ["a.jpg", "a.png", "a.jpg.png", "a.png.png", "a.JPG", "b.tif", "sub/b.tif"]
    for size, name in enumerate(names, 8):
        picture(tmp_path / "in" / name, (size, 8))
    assert predict_files(constant, tmp_path / "in", tmp_path / "out") == (7, [])
    masks = masks_in(tmp_path / "out" / "masks")
    assert sorted(mask.shape[1] for mask in masks.values()) == list(range(8, 15))
    assert {"b.png", "sub/b.png"} < set(masks)


def test_several_images_and_folders_are_each_predicted_once(constant, tmp_path):
    for size, name in enumerate(["one/a.png", "two/a.png", "two/sub/b.jpg", "c.png"], 8):
        picture(tmp_path / name, (size, 8))
    sources = [tmp_path / name for name in ("one", "two", "two/sub", "one/a.png", "c.png")]
    assert predict_files(constant, sources, tmp_path / "out") == (4, [])
    masks = masks_in(tmp_path / "out" / "masks")
    assert {name: mask.shape[1] for name, mask in masks.items()} == {
        "one/a.png": 8, "two/a.png": 9, "two/sub/b.png": 10, "c.png": 11,
    }  # fmt: skip
    with pytest.raises(FileNotFoundError, match="nothing: expected an image"):
        predict_files(constant, [*sources, tmp_path / "nothing"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_results_beside_their_images_lose_nothing_and_are_no_images(constant, tmp_path):
    for name in ("a.png", "masks/b.png", "sub/c.png"):
        picture(tmp_path / name, (8, 8))
    before = content_of(tmp_path)
    for _ in range(2):
        assert predict_files(constant, tmp_path, tmp_path) == (3, [])
    assert len(find_images(tmp_path)) == 3, "nor are they for results that go elsewhere"
    after = content_of(tmp_path)
    assert before.items() <= after.items() and len(after) == 3 + 2 * 3


def test_drawn_masks_are_not_replaced_by_predicted_ones(constant, tmp_path):
    picture(tmp_path / "images" / "a.png", (8, 8))
    picture(tmp_path / "masks" / "a.png", (8, 8), 1)
    before = content_of(tmp_path)
    with pytest.raises(OutputError, match=r"masks/a\.png, of another origin\. Name another folder"):
        predict_files(constant, tmp_path / "images", tmp_path)
    assert content_of(tmp_path) == before


def test_full_disk_leaves_all_pictures_of_an_image_or_none(constant, tmp_path, largest_file):
    picture(tmp_path / "a.png", (8, 8))
    largest_file(400)  # Bytes, enough only for the mask.
    with pytest.raises(OSError, match=r"File too large: .*overlays/a\.png"):
        predict_files(constant, tmp_path / "a.png", tmp_path / "out")
    assert not content_of(tmp_path / "out")


@pytest.fixture
def labels(constant):
    """A predictor that gives every image the same class."""
    scores = np.float32([[0.25, 0.75]])
    return dataclasses.replace(
        constant, dense=False, network=lambda images: scores, task=Classification
    )


def test_table_of_another_origin_is_not_replaced(labels, tmp_path):
    picture(tmp_path / "a.png", (8, 8))
    table = tmp_path / "predictions.csv"
    for _ in range(2):
        assert predict_files(labels, tmp_path, tmp_path) == (1, [])
    table.write_text("my,own,table\n")
    with pytest.raises(OutputError, match="predictions.csv, of another origin"):
        predict_files(labels, tmp_path, tmp_path)
    assert table.read_text() == "my,own,table\n"


def test_measured_values_are_not_replaced_by_predicted_ones(constant, tmp_path):
    class Values(Task):
        targets, headline = ("depth",), "within"

    values = dataclasses.replace(constant, task=Values)
    picture(tmp_path / "a.png", (8, 8))
    for _ in range(2):
        assert predict_files(values, tmp_path / "a.png", tmp_path) == (1, [])
    file = tmp_path / "values" / "a.npy"
    assert np.load(file).shape == np.load(file, mmap_mode="r").shape == (8, 8, 2)
    np.save(file, np.zeros(3))
    with pytest.raises(OutputError, match=r"values/a\.npy, of another origin"):
        predict_files(values, tmp_path / "a.png", tmp_path)
    assert np.load(file).shape == (3,)


def test_table_names_an_image_whose_name_is_no_text(labels, tmp_path):
    picture(tmp_path / "latin\udcfc.png", (8, 8))
    assert predict_files(labels, tmp_path, tmp_path / "out") == (1, [])
    table = (tmp_path / "out" / "predictions.csv").read_text("utf-8")
    assert r"latin\udcfc.png,1" in table


def test_photos_that_are_not_read_are_named(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()
    said = r"left out 1 photo of another format \(IMG_1\.HEIC\): convert them to JPEG"
    with pytest.raises(NoImagesError, match=said):
        find_images(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "IMG_2.jpg")
    with pytest.warns(DatasetWarning, match=said):
        assert find_images(tmp_path) == [tmp_path / "IMG_2.jpg"]


EIGHT_BITS = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


@pytest.mark.parametrize(
    ("pixels", "received"),
    [
        (EIGHT_BITS * np.nan, "float64 from nan to nan"),
        (EIGHT_BITS.astype("u2") * 257, "uint16 from 0 to 49087"),
        (EIGHT_BITS.astype("f4") - 128, "float32 from -128 to 63"),
        (EIGHT_BITS.astype("f4") * 10, "float32 from 0 to 1910"),
        (EIGHT_BITS / 255, "floats of at most 0.749.*multiply them by 255"),
        (EIGHT_BITS > 9, "bool of shape"),
        (EIGHT_BITS.astype("c8"), "complex64 of shape"),
        (EIGHT_BITS.astype(str), "<U3 of shape"),
        ("photo.jpg", "<U9 of shape"),
        (None, "object of shape"),
        ([[1], [2, 3]], "list: "),
    ],
)
def test_pixels_are_of_0_to_255_or_refused_in_a_line(constant, pixels, received):
    with pytest.raises(
        SourceError, match=f"of 0 to 255, as read_pixels.*Received: {received}"
    ) as e:
        constant(pixels)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["u1", "i8", "u2", "f4", "f8", "list"])
def test_pixels_of_0_to_255_are_read_in_any_type_of_numbers(constant, kind):
    pixels = EIGHT_BITS.tolist() if kind == "list" else EIGHT_BITS.astype(kind)
    np.testing.assert_array_equal(constant(pixels), constant(EIGHT_BITS))
    assert constant(EIGHT_BITS.astype("f4") * 0).shape == (8, 8, 2)


def test_file_that_gives_no_pixels_says_why(tmp_path):
    for path, error, said in (
        (
            tmp_path / "absent.png",
            MissingFileError,
            "absent.png: expected an image. .* no such file",
        ),
        (tmp_path, UserError, "expected an image .*decoded: it is not a regular file"),
        (
            picture(tmp_path / "half.png", (9, 9)),
            UserError,
            "half.png: expected an image .*decoded:",
        ),
        (None, UserError, "expected an image file. Received: .* NoneType"),
    ):
        if path == tmp_path / "half.png":
            path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(error, match=said):
            read_pixels(path, 3)
    with pytest.raises(UserError, match="expected 1 for grey or 3 for colour. .*channels=4"):
        read_pixels(picture(tmp_path / "a.png", (9, 9)), 4)


def test_home_folder_of_images_and_results(constant, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in" / "a.png", (8, 8))
    assert read_pixels("~/in/a.png", 3).shape == (8, 8, 3)
    assert predict_files(constant, "~/in", "~/out") == (1, [])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out"]


def test_nothing_to_predict_and_nothing_to_predict_with_are_said(constant, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(NoImagesError, match="expected an image file.* Received: none"):
        predict_files(constant, [], out)
    for wrong in (None, [EIGHT_BITS]):
        with pytest.raises(UserError, match="expected an image file.* Received: an object of type"):
            predict_files(constant, wrong, out)
    with pytest.raises(
        UserError, match="expected a Predictor.*load_predictor.*Received: 'cifar10'"
    ):
        predict_files("cifar10", tmp_path, out)
    file = picture(tmp_path / "a.png", (8, 8))
    with pytest.raises(OutputError, match="expected a folder that can be written"):
        predict_files(constant, file, file)


def test_what_names_no_network_is_named(tmp_path):
    for load in (load_predictor, load_run):
        with pytest.raises(
            UserError, match="expected a run's folder.* Received: .* type Functional"
        ):
            load(tf.keras.Model([x := tf.keras.Input((2,))], x))
    for size in (64, (64,), "64", (1, 2, 3)):
        with pytest.raises(
            RecipeError, match="size: expected height and width in pixels.*Received"
        ):
            load_run("cifar10", size=size)
