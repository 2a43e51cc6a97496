"""Python arrays as a dataset."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.data import DatasetError
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.pipeline import Pipeline, class_names, open_dataset, prepare
from larq_groupnet.data.reading import Reading

RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (30, 6, 8, 3), "u1")
LABELS = np.arange(30) % 3
MASKS = RNG.randint(0, 3, (30, 6, 8), "u1")


def batches(builder, role, size=(6, 8)):
    return list(Pipeline(builder, Reading(size), 10).eval_batches(role).as_numpy_iterator())


def test_labels_come_as_they_went_in():
    builder = from_arrays("plain", (IMAGES[:20], LABELS[:20]), test=(IMAGES[20:], LABELS[20:]))
    assert class_names(builder) == ["class_0", "class_1", "class_2"]
    ((images, labels),) = batches(builder, "test")
    np.testing.assert_allclose(images, IMAGES[20:] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS[20:])
    assert sorted(batches(builder, "validation")[0][1]) == [0, 1, 2], "a tenth of each class"
    images, labels = next(iter(Pipeline(builder, Reading((6, 8)), 17).train_batches(1)))
    wanted = {IMAGES[n].tobytes(): LABELS[n] for n in range(20)}
    pixels = ((images.numpy() + 1) * 127.5).round().astype("u1")
    assert [wanted[x.tobytes()] for x in pixels] == labels.numpy().tolist()


def test_masks_keep_void():
    masks = MASKS.copy()
    masks[:, 0] = 255
    builder = from_arrays("masks", (IMAGES, masks), test=(IMAGES, masks[..., None]))
    truth = np.concatenate([truth for _, truth in batches(builder, "test")])
    np.testing.assert_array_equal(truth, masks)


def test_list_of_grey_images_of_several_sizes():
    images = [IMAGES[0, ..., 0], IMAGES[1, :4, :4, 0]]
    two = (images, [0, 1])
    builder = from_arrays("sizes", two, two, two, class_names=["a", "b"])
    ((found, labels),) = batches(builder, "test", (6, 8))
    assert found.shape == (2, 6, 8, 1)
    assert labels.tolist() == [0, 1]


def test_recipe_finds_them_by_name(tmp_path):
    builder = from_arrays("named", (IMAGES, LABELS))
    assert prepare("arrays:named", tmp_path) is builder
    assert open_dataset("arrays:named", tmp_path) is builder
    with pytest.raises(DatasetError, match=r"Did you mean 'named'.*only to the process that calls"):
        open_dataset("arrays:name", tmp_path)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES, LABELS[:9]), "as many images as labels or masks.*Received: 30 and 9"),
        ((IMAGES[:0], LABELS[:0]), "Received: 0 and 0"),
        ((IMAGES / 255, LABELS), "uint8 with pixels of 0 to 255. Received: image 0 .*float64"),
        ((IMAGES[..., :2], LABELS), r"image 0 of shape \(6, 8, 2\)"),
        ((IMAGES, LABELS - 1), r"labels of 0 to 2. Received: int64 -1 at 0"),
        ((IMAGES, LABELS * 1.0), r"Received: float64 0.0 at 0"),
        ((IMAGES, LABELS + (LABELS == 2)), r"labels of 0 to 2. Received: int64 3 at 2"),
        ((IMAGES, MASKS[:, :5]), r"a mask \(6, 8\) uint8.*mask 0 of shape \(5, 8\)"),
        ((IMAGES, MASKS + 3), r"and 255 for void. Received: uint8 3 at 0"),
    ],
)
def test_first_thing_that_is_wrong_is_named(train, message):
    with pytest.raises(DatasetError, match=message):
        from_arrays("wrong", train, class_names=["a", "b", "c"])


def test_masks_of_another_type_are_named_where_no_classes_are():
    with pytest.raises(DatasetError, match=r"a mask \(6, 8\) uint8.*dtype int64"):
        from_arrays("wrong", (IMAGES, MASKS.astype(np.int64)))


def test_labels_may_have_any_number_of_classes_and_masks_the_255_of_8_bits():
    labels = np.repeat(np.arange(300), 3)
    images = np.zeros((900, 4, 4, 1), np.uint8)
    for highest in (255, 299):
        few = labels[labels <= highest]
        data = from_arrays("many", (images[: len(few)], few))
        assert len(data.classes) == highest + 1
    names = [f"class {label}" for label in range(256)]
    with pytest.raises(DatasetError, match=r"2 to 255 .* Received: 256, class 0, .*, \.\.\.$"):
        from_arrays("many", (IMAGES, MASKS), class_names=names)
    with pytest.raises(
        DatasetError, match=r"labels 0, 1, 2, ..., or strings. Received: int64 -1 at 2"
    ):
        from_arrays("many", (images[:4], np.array([0, 0, -1, 0])))
    with pytest.raises(DatasetError, match=r"of 0 to 99999. Received: int64 4000000000 at 1"):
        from_arrays("many", (images[:2], np.array([0, 4_000_000_000])))
    with pytest.raises(DatasetError, match="Received: 0 and 0"):
        from_arrays("many", (IMAGES[:0], MASKS[:0]))


def test_splits_must_be_of_one_kind():
    with pytest.raises(DatasetError, match="either labels or masks, in every split"):
        from_arrays("wrong", (IMAGES, LABELS), test=(IMAGES, MASKS), class_names=["a", "b", "c"])
    with pytest.raises(DatasetError, match=r"channels \[1, 3\]"):
        from_arrays("wrong", (IMAGES, LABELS), test=(IMAGES[..., :1], LABELS))


def test_arrays_in_the_order_of_their_classes_are_divided_class_by_class():
    labels = np.repeat(np.arange(3), 10)
    builder = from_arrays("sorted", (IMAGES, labels))
    assert dict(builder.sizes) == {"train": 24, "validation": 3, "test": 3}
    seen = {role: [y for _, y in batches(builder, role)] for role in builder.sizes}
    for role, each in (("train", 8), ("validation", 1), ("test", 1)):
        assert np.bincount(np.concatenate(seen[role])).tolist() == [each] * 3
    pixels = [x for role in builder.sizes for image, _ in batches(builder, role) for x in image]
    assert len({x.tobytes() for x in pixels}) == 30
    few = from_arrays("few", (IMAGES[:6], labels[:6] * 0 + np.arange(6) % 2), class_names="ab")
    assert dict(few.sizes) == {"train": 2, "validation": 2, "test": 2}
    with pytest.raises(DatasetError, match="arrays:two: expected images for validation"):
        from_arrays("two", (IMAGES[:2], np.arange(2)))


NAMES = np.array(["cat", "dog", "emu"])
KINDS = {
    "a column": LABELS[:, None],
    "one-hot": np.eye(3)[LABELS],
    "one-hot of truths": np.eye(3, dtype=bool)[LABELS],
    "strings": NAMES[LABELS],
    "a column of strings": NAMES[LABELS][:, None],
    "a list of strings": NAMES[LABELS].tolist(),
    "bytes": NAMES.astype("S")[LABELS],
    "a list of integers": LABELS.tolist(),
    "NumPy's integers as objects": np.array([*map(np.int64, LABELS), None], object)[:-1],
    "strings of TensorFlow": tf.constant(NAMES[LABELS]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [True, False])
def test_labels_of_every_form_are_understood(kind, named):
    names = NAMES[::-1].tolist() if named else None
    builder = from_arrays("forms", (IMAGES, KINDS[kind]), (IMAGES, KINDS[kind]), class_names=names)
    ((first, labels), *_) = batches(builder, "validation")
    text = "string" in kind or kind == "bytes"
    assert builder.classes == tuple(names or (NAMES if text else ["class_0", "class_1", "class_2"]))
    np.testing.assert_array_equal(labels, 2 - LABELS[:10] if text and named else LABELS[:10])


def test_labels_of_no_form_are_refused():
    rows = np.eye(3)[LABELS]
    rows[4] = 0.5
    with pytest.raises(DatasetError, match=r"with one 1 and zeros in each row. Received: .* at 4"):
        from_arrays("soft", (IMAGES, rows))
    with pytest.raises(DatasetError, match=r"labels among.*'dgo' at 1\. Did you mean 'dog'"):
        from_arrays("typo", (IMAGES[:2], ["cat", "dgo"]), class_names=["cat", "dog"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, np.nan], r"labels 0, 1, 2, ..., or strings. Received: float64 0.0 at 0"),
        ([np.nan, 1], r"labels 0, 1, 2, ..., or strings. Received: float64 nan at 0"),
        ([None, None], r"labels 0, 1, 2, ..., or strings. Received: object None at 0"),
        (["cat", None], r"only strings. Received: object None at 1"),
        ([-1, 1], r"labels 0, 1, 2, ..., or strings. Received: int64 -1 at 0"),
        ([0, 0], r"expected 2 or more different names. Received: 1, class_0"),
    ],
)
def test_label_that_is_none_is_named(labels, message):
    with pytest.raises(DatasetError, match=message):
        from_arrays("none", (IMAGES[:2], labels))


@pytest.mark.parametrize(
    ("train", "received"),
    [
        ((IMAGES, LABELS, LABELS), "tuple of ndarray, ndarray, ndarray"),
        (IMAGES[:2], "ndarray"),
        (None, "NoneType"),
        ((image for image in IMAGES), "generator"),
        ((iter(IMAGES), LABELS), "tuple of .*iterator, ndarray"),
        ((IMAGES, bytes(len(IMAGES))), "tuple of ndarray, bytes"),
        ((IMAGES, dict(enumerate(LABELS))), "tuple of ndarray, dict"),
        (tf.data.Dataset.from_tensors((IMAGES, LABELS)), ".*Dataset"),
    ],
)
def test_examples_are_a_pair_of_arrays(train, received):
    with pytest.raises(DatasetError, match=f"train: expected a pair of .* Received: {received}$"):
        from_arrays("pair", train)


def test_class_names_may_be_an_array_or_numbers():
    for names in (NAMES, (3, 4, 5), iter(NAMES)):
        wanted = ("3", "4", "5") if isinstance(names, tuple) else tuple(NAMES)
        assert from_arrays("names", (IMAGES, LABELS), class_names=names).classes == wanted
    with pytest.raises(DatasetError, match="expected 2 or more different names. Received: 1, cat"):
        from_arrays("names", (IMAGES, LABELS), class_names=["cat"])


PLAIN = {"reading": Reading((6, 8)), "batch_size": 4}


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "4"])
def test_batch_size_is_a_count(value):
    with pytest.raises(
        DatasetError, match=f"batch_size: .* at least 1. Received: batch_size={value!r}"
    ):
        Pipeline(from_arrays("batch", (IMAGES, LABELS)), Reading((6, 8)), value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dataset", "digits"), ("reading", (6, 8)), ("reading", Reading()), ("seed", 1.5),
        ("augmentation", "photo"), ("eval_crop", "no"),
    ],
)  # fmt: skip
def test_wrong_argument_of_a_pipeline_is_named_at_once(argument, value):
    given = {"dataset": from_arrays("plain", (IMAGES, LABELS)), **PLAIN, argument: value}
    with pytest.raises(DatasetError, match=f"^{argument}: expected .* Received: "):
        Pipeline(**given)


def test_numbers_of_numpy_are_sizes_of_batches_and_images():
    dataset = from_arrays("numpy", (IMAGES, LABELS))
    pipeline = Pipeline(dataset, Reading(np.array([6, 8])), np.int64(4))
    assert next(iter(pipeline.train_batches(1)))[0].shape == (4, 6, 8, 3)
    with pytest.raises(DatasetError, match="role: .* Received: 'val'"):
        pipeline.eval_batches("val")
