"""Pictures of class maps: stored values, drawn colours, and colours that people can tell apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from larq_groupnet.report import pictures
from larq_groupnet.report.letters import cut
from larq_groupnet.report.overlay import LEAST_WIDTH, OPACITY, draw_overlay, index_image, palette_of
from larq_groupnet.report.pictures import (
    BACKGROUND,
    CLASS_COLOURS,
    class_colours,
    draw_predictions,
)

# Machado, Oliveira and Fernandes, 2009, at full severity, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cielab(rgb, vision):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = (np.clip(linear @ np.transpose(vision), 0, 1) @ XYZ.T) / XYZ.sum(1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@pytest.mark.parametrize("name", VISION)
def test_everyone_can_tell_the_colours_apart(name):
    colours = np.array([to_rgb(colour) for colour in (BACKGROUND, *CLASS_COLOURS)])
    seen = cielab(colours, VISION[name])
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 16


def test_measure_of_colours_knows_black_and_white():
    black, white = cielab(np.array([[0.0] * 3, [1.0] * 3]), np.eye(3))
    np.testing.assert_allclose(black, [0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(white, [100, 0, 0], atol=1e-6)


def test_index_image_keeps_the_classes_through_a_file(tmp_path):
    classes = np.random.RandomState(0).randint(0, 21, (9, 14))
    names = ["background", *map(str, range(20))]
    index_image(classes, names).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as stored:
        np.testing.assert_array_equal(np.asarray(stored), classes)
        shown = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(shown, palette_of(names)[classes])
    assert len(np.unique(palette_of(names), axis=0)) == 21


def test_overlay_tints_all_but_the_background_and_has_a_legend():
    image = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    classes = np.zeros((40, 60), int)
    classes[:, 30:] = 2
    names = ["background", "cat", "dog"]
    drawn = np.asarray(draw_overlay(image, classes, names))
    factor = LEAST_WIDTH // 60
    assert drawn.shape[1] == LEAST_WIDTH
    legend = drawn[40 * factor :]
    assert len(legend) > 20 and legend.min() < 50 < legend.mean()
    np.testing.assert_array_equal(drawn[20 * factor, 10 * factor], image[0, 0])
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    expected = (1 - OPACITY) * grey + OPACITY * palette_of(names)[2].astype(float)
    np.testing.assert_allclose(drawn[20 * factor, 50 * factor], expected, atol=1.5)
    line = drawn[20 * factor, 30 * factor + factor // 2]
    np.testing.assert_allclose(line, expected / 4, atol=1.5)
    # The legend has the colours of the classes that occur, and no others.
    in_legend = {tuple(colour) for colour in legend.reshape(-1, 3)}
    assert [tuple(colour) in in_legend for colour in palette_of(names)] == [True, False, True]


def test_first_class_that_is_no_background_is_tinted_and_grey_images_are_drawn():
    image = np.full((10, 500, 1), 100, np.uint8)
    drawn = np.asarray(draw_overlay(image, np.zeros((10, 500), int), ["road", "car"]))
    expected = (1 - OPACITY) * 100 + OPACITY * palette_of(["road", "car"])[0].astype(float)
    np.testing.assert_allclose(drawn[5, 250], expected, atol=1)
    assert drawn.shape[1] == 500 * -(-LEAST_WIDTH // 500)


def test_narrow_image_is_enlarged_to_a_picture_that_can_be_opened():
    image = np.zeros((2000, 1, 3), "u1")
    drawn = draw_overlay(image, np.zeros((2000, 1), int), ["road", "car"])
    assert drawn.width == LEAST_WIDTH
    assert 4000 < drawn.height < 4500
    assert np.asarray(drawn)[10, 1].max() > 0 and np.asarray(drawn)[10, 3].tolist() == [255] * 3


def test_legend_of_a_wide_image_is_no_larger_than_can_be_read():
    """Letters that grow with the image without limit would take gigabytes."""
    drawn = draw_overlay(np.zeros((1, 40_000), "u1")[..., None], np.zeros((1, 40_000), int), ["a"])
    assert drawn.width == 40_000 and drawn.height < 700


def test_void_is_no_error_in_the_picture_of_predictions(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "_show_classes", lambda axes, classes, *_: drawn.append(classes))
    truth = np.array([[0, 1], [255, 1]])
    scores = np.eye(2)[[[0, 1], [1, 0]]]
    arguments = [np.zeros((2, 2, 3), "u1")], [truth], [scores], ["a", "b"]
    pictures.draw_predictions(*arguments, tmp_path / "x.png", "title", void=255)
    np.testing.assert_array_equal(drawn[-1], [[0, 0], [0, 1]])


def test_legend_grows_with_the_photo():
    heights = []
    for width in (640, 1920):
        image = np.zeros((30, width, 3), "u1")
        classes = np.arange(width)[None].repeat(30, 0) // (width // 2)
        heights.append(draw_overlay(image, classes, ["cat", "dog"]).height - 30)
    assert heights[1] == pytest.approx(3 * heights[0], abs=3)
    image = np.zeros((1280, 640, 3), "u1")
    classes = np.arange(640)[None].repeat(1280, 0) // 320
    upright = draw_overlay(image, classes, ["cat", "dog"]).height - 1280
    assert upright == pytest.approx(2 * heights[0], abs=3)


@pytest.mark.parametrize(
    ("most", "said", "text"),
    [(9_999, "number of images", "7"), (10_000, "shares of each", "0.1 %")],
)
def test_numbers_of_the_confusion_are_what_its_title_says(tmp_path, monkeypatch, most, said, text):
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, *_, **__: figures.append(figure))
    matrix = np.array([[most, 7], [7, most]])
    pictures.draw_confusion(matrix, ["cat", "dog"], tmp_path / "a.png", "mine", "images")
    axes = figures[0].axes[0]
    assert said in figures[0].get_suptitle()
    assert [each.get_text() for each in axes.texts][1] == text


def test_confusion_of_many_classes_names_as_many_as_can_be_read(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, *_, **__: figures.append(figure))
    names = [f"class {label}" for label in range(300)]
    pictures.draw_confusion(np.eye(300), names, tmp_path / "a.png", "mine", "images")
    (axes,) = figures[0].axes
    shown = {tick.get_position()[1]: tick.get_text() for tick in axes.get_yticklabels()}
    assert shown == {label: f"class {label}" for label in range(0, 300, 5)}


def test_void_looks_like_no_class_and_a_first_class_of_its_own_is_not_dark(tmp_path):
    names = ["sky", *map(str, range(len(CLASS_COLOURS) - 1))]
    assert class_colours(names) == list(CLASS_COLOURS)
    for name in ("background", "Background", "_background_"):  # labelme writes `_background_`.
        assert class_colours([name, "cat"]) == [BACKGROUND, CLASS_COLOURS[0]]
    image = np.zeros((32, 48, 3), np.uint8)
    scores = np.zeros((32, 48, len(names)))
    drawn = set()
    labels = (255, 0, 2, len(names) - 1)
    for label in labels:
        truth = np.full((32, 48), label)
        draw_predictions([image], [truth], [scores], names, tmp_path / "a.png", "", 255)
        with Image.open(tmp_path / "a.png") as picture:
            drawn.add(picture.tobytes())
    assert len(drawn) == len(labels)


LONG = [
    "bolt",
    "american_pit_bull_terrier",
    "n01440764 tench, Tinca tinca, of all sizes",
    *"abcdefghi",
]


@pytest.mark.parametrize("kind", ["labels", "predictions", "confusion"])
def test_long_names_and_paths_stay_inside_of_the_picture_and_apart(kind, tmp_path, monkeypatch):
    """Class names of pets, and a deeply nested folder."""
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, *_, **__: figures.append(figure))
    rng, count = np.random.default_rng(0), len(LONG)
    title = "groupnet_resnet18 on folder:" + "/somewhere" * 12 + ", converted for LCE: test"
    images = list(rng.integers(0, 256, (20, 16, 16, 3), np.uint8))
    if kind == "labels":
        scores = np.eye(count)[np.arange(20) % count]
        pictures.draw_labels(images, [1] * 20, list(scores), LONG, tmp_path / "a.png", title)
    elif kind == "predictions":
        scores = list(rng.random((20, 16, 16, count)))
        truths = list(rng.integers(0, count, (20, 16, 16)))
        truths[0][:8] = 255
        draw_predictions(images, truths, scores, LONG, tmp_path / "a.png", title, 255)
    else:
        matrix = rng.integers(0, 99, (count, count))
        pictures.draw_confusion(matrix, LONG, tmp_path / "a.png", title, "images")
    (figure,) = figures
    pictures.image_of(figure)  # Computes the layout.
    legend = [text for legend in figure.legends for text in legend.get_texts()]
    names = [axes.title for axes in figure.axes if axes.title.get_text()]
    ticks = [label for axes in figure.axes for label in axes.get_yticklabels() if axes.axison]
    for texts in ([figure._suptitle], legend, names, ticks):
        boxes = [text.get_window_extent() for text in texts]
        for number, box in enumerate(boxes):
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, texts[number]
            assert not any(box.overlaps(other) for other in boxes[:number]), texts[number]


DOLLARS = ["$\\frac$", "a$b$c"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, path: pictures.draw_labels([x], [0], [np.eye(2)[0]], DOLLARS, path, "$_$"),
        lambda x, path: pictures.draw_confusion(np.eye(2), DOLLARS, path, "$_$", "images"),
        lambda x, path: draw_predictions(
            [x], [x[..., 0]], [np.eye(2)[x[..., 0]]], DOLLARS, path, "$_$", 255
        ),
        lambda x, path: draw_overlay(x, x[..., 0], DOLLARS).save(path),
    ],
    ids=["labels", "confusion", "predictions", "overlay"],
)
def test_dollars_in_a_name_are_no_formula(draw, tmp_path):
    """Matplotlib would raise an error after the whole training."""
    draw(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_letters_without_a_font_are_named_once():
    image, classes = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), int)
    with pytest.warns(UserWarning, match="expected a font that has 𓀀𓀁. Received: none"):
        draw_overlay(image, classes, ["𓀀𓀁"])
    draw_overlay(image, classes, ["𓀀𓀁"])  # A second warning would be an error.


def test_wide_letters_count_twice():
    assert cut("三毛猫", 6) == "三毛猫" and cut("三毛猫の", 6) == "三毛…"
    assert cut("cat", 3) == "cat" and cut("cats", 3) == "ca…"
