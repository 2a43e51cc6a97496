"""The recipe and dataset that a command line selects, and the notes printed about them."""

import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from larq_groupnet.errors import ConfigError
from larq_groupnet.recipes import RecipeError, load_recipes, override
from larq_groupnet.recipes.choose import choose
from larq_groupnet.recipes.fitting import check_recipe
from larq_groupnet.recipes.load import zoo_folders
from larq_groupnet.recipes.start import with_start
from larq_groupnet.runs.start import check_start


@pytest.fixture
def photos(tmp_path):
    """Two classes of photos, 20 x 40 pixels."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.RandomState(number).randint(0, 256, (20, 40, 3), "u1")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return f"folder:{tmp_path / 'photos'}"


@pytest.fixture
def masks(tmp_path):
    """Six images of 30 x 20 pixels with masks of two classes."""
    for name in ("images", "masks"):
        (tmp_path / "cut" / name).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((30, 20), "u1")
        mask[:3, :4] = number % 2
        Image.fromarray(mask).save(tmp_path / "cut" / "masks" / f"{number}.png")
        Image.fromarray(np.dstack([mask] * 3)).save(tmp_path / "cut" / "images" / f"{number}.png")
    (tmp_path / "cut" / "classes.txt").write_text("background\npart\n")
    return f"folder:{tmp_path / 'cut'}"


@pytest.mark.parametrize("dataset", ["imagenet2012:5.1.0", "imagenet2012", "imagenet2012/x:1.0.0"])
def test_dataset_with_version_or_config_has_the_recipe_of_its_name(dataset, tmp_path):
    recipe = choose("groupnet_resnet18", tmp_path, dataset=dataset).recipe
    assert (recipe.dataset, recipe.model.input_shape) == (dataset, (224, 224, 3))
    assert recipe.batch_size == 256


def test_dataset_without_a_recipe_gets_the_one_for_photos(photos, tmp_path):
    choice = choose("groupnet_resnet34", tmp_path, dataset=photos)
    recipe, config = choice.recipe, choice.recipe.model
    assert (recipe.name, config.layout) == ("groupnet_resnet34", "resnet34")
    assert (recipe.augmentation, recipe.letterbox, recipe.steps_per_epoch) == ("photo", True, 100)
    # The images' size and aspect ratio, in whole cells of the last feature map.
    assert config.input_shape == (24, 40, 3)
    assert (config.num_classes, config.num_bases, config.stem_stride) == (2, 3, 1)
    notes = "\n".join(choice.notes)
    assert "Images of 20 x 40 pixels (height x width) are read at 24 x 40" in notes
    assert "--input_size 48,80" in notes and "random weights" in notes


def test_without_a_model_the_truth_of_the_dataset_chooses(photos, masks, tmp_path):
    assert choose(None, tmp_path, dataset=photos).recipe.name == "groupnet_resnet18"
    name = masks
    choice = choose(None, tmp_path, dataset=name)
    assert (choice.recipe.name, choice.recipe.model.head) == ("groupnet_dsp", "fcn32s")
    assert choice.recipe.class_weights == "root_median_frequency"
    assert any(note.startswith("part is 0.0") and "background" in note for note in choice.notes)
    plain = choose(None, tmp_path, dataset=name, changes=[("class_weights", "")]).recipe
    assert plain.class_weights == ""
    with pytest.raises(RecipeError, match="such as groupnet_dsp. Received: groupnet_resnet18"):
        choose("groupnet_resnet18", tmp_path, dataset=name)


def test_class_without_an_example_leaves_the_weights_of_the_others_on(masks, tmp_path):
    (tmp_path / "cut" / "classes.txt").write_text("background\npart\nspare\n")
    choice = choose(None, tmp_path, dataset=masks)
    assert choice.recipe.class_weights == "root_median_frequency"
    assert any(note.startswith("part is 0.0") and "background" in note for note in choice.notes)


def test_augmentation_of_photos_grows_with_k(photos, tmp_path):
    def strength(bases):
        changes = [("num_bases", str(bases))]
        recipe = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes).recipe
        assert recipe.model.num_bases == bases
        return recipe.rand_augment, recipe.colour_jitter

    assert strength(1) < strength(2) < strength(5)
    real = choose("resnet18", tmp_path, dataset=photos).recipe
    assert (real.rand_augment, real.colour_jitter) == strength(5)
    given = [("num_bases", "5"), ("rand_augment", "()")]
    recipe = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=given).recipe
    assert recipe.rand_augment == ()


def test_real_network_for_photos_has_one_phase_of_all_epochs(photos, tmp_path):
    binary = choose("groupnet_resnet18", tmp_path, dataset=photos).recipe
    real = choose("resnet18", tmp_path, dataset=photos).recipe
    (phase,) = real.phases
    assert phase.epochs == sum(each.epochs for each in binary.phases)
    assert real.model.decomposition == "none" and phase.binary is False
    assert real.model.input_shape == binary.model.input_shape
    bireal = choose("birealnet18", tmp_path, dataset=photos).recipe
    assert (bireal.model.num_bases, bireal.model.projection) == (1, "real")


def test_photos_start_from_weights_of_photographs_in_their_network(photos, tmp_path, monkeypatch):
    from larq_groupnet import GroupNetConfig, build
    from larq_groupnet.training.start import load_start
    from larq_groupnet.weights import metadata, packed, registry

    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    theirs = GroupNetConfig(
        input_shape=(32, 32, 3), num_classes=7, num_bases=2, width=0.0625,
        stage_blocks=(1, 1, 1, 1), stem_stride=1, output_stride=8,
    )  # fmt: skip
    net = build(theirs)
    about = metadata.Metadata(theirs, "cifar10", (), {"normalisation": "symmetric"}, (), "CC0")
    file = packed.save(net, about, tmp_path / "net.safetensors")
    registry.register(file, "cifar10", "groupnet_resnet18")
    choice = choose("groupnet_resnet18", tmp_path, dataset=photos)
    recipe = with_start(choice.recipe, None, choice.given)
    assert recipe.start_from == "cifar10" and "'cifar10' weights" in choice.notes[-1]
    assert (recipe.model.num_bases, recipe.model.width) == (3, 0.0625)
    assert "They have 2 bases (K)" in choice.notes[-1]
    with pytest.warns(UserWarning, match="left out, because the head differs"):
        started = {weight.name: weight for weight in load_start(recipe).weights}
    kept = [w for w in net.weights if w.name.startswith("stage2_block1_base1_conv1")]
    for weight in kept:
        np.testing.assert_array_equal(np.sign(started[weight.name]), np.sign(weight))
    assert kept
    # Not if they do not fit, or are declined.
    for change in (("width", "0.125"), ("start_from", "none")):
        recipe = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=[change]).recipe
        assert with_start(recipe, None).start_from == ""


SHIPPED = {
    "cifar10": (0.5, (1, 1, 1, 1), "real"),
    "cifar10_stride2": (0.25, None, "real"),
    "camvid": (0.25, None, "real"),
    "digit_scenes": (0.25, None, "binary"),
}
"""Weights of colour images -> width, blocks and projection, of which none is said to be given."""


@pytest.mark.parametrize(("kind", "size"), [("photos", "32,32"), ("masks", "128,96")])
@pytest.mark.parametrize("name", SHIPPED)
def test_weights_that_are_asked_for_bring_their_network(name, kind, size, request, tmp_path):
    dataset = request.getfixturevalue(kind)

    def start(*changes):
        changes = (("input_size", size), ("start_from", name), *changes)
        choice = choose(None, tmp_path, dataset=dataset, changes=changes)
        recipe = with_start(choice.recipe, name, choice.given)
        check_start(recipe)
        assert recipe == choice.recipe  # So summary and train agree.
        return recipe.model, choice.notes[-1]

    model, line = start()
    assert (model.width, model.stage_blocks, model.projection) == SHIPPED[name]
    assert (model.num_bases, model.num_classes) == (3, 2)
    assert model.input_shape == (*map(int, size.split(",")), 3)
    assert (model.stem_stride == 1) == (name == "cifar10")  # The weights fix the stem's kernel.
    assert line.startswith(f"It starts from the {name!r} weights, all but the head")
    assert ("width=0.5" in line) == (name == "cifar10")
    assert ("They have 2 bases (K)" in line) == (name in ("cifar10_stride2", "camvid"))
    # A given width stays: the same as in the weights, or another, which is refused.
    given, width = str(model.width), str(model.width / 2)
    assert start(("width", given), ("num_bases", "4"))[0] == model.replace(num_bases=4)
    with pytest.raises(RecipeError, match=f"start_from: .*width: {given} in the file, {width} in"):
        start(("width", width))


def test_weights_of_more_bases_than_the_photos_have_bring_them(photos, tmp_path):
    """`digits` has five bases and reads grey images."""
    changes = [("start_from", "digits")]
    choice = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes)
    assert choice.recipe.model.num_bases == 5
    said = r"of another network: input_shape: .16, 16, 1. in the file.*or"
    with pytest.raises(RecipeError, match=said):
        check_start(with_start(choice.recipe, None, choice.given))
    changes += [("num_bases", "3")]
    choice = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes)
    with pytest.raises(RecipeError, match="num_bases: 5 in the file, 3 in the model"):
        check_start(with_start(choice.recipe, None, choice.given))


def test_number_of_classes_is_that_of_the_dataset_beside_weights_of_the_same_model():
    """21 classes are the model's default, which must not give way to the weights' own number."""
    recipe = load_recipes("groupnet_dsp").find("voc2012")
    changes = [("width", "0.25"), ("num_bases", "2"), ("stem_stride", "2")]
    recipe = with_start(override(recipe, [*changes, ("start_from", "camvid")]), None)
    assert (recipe.model.num_classes, recipe.model.num_bases) == (21, 2)


def test_strides_of_the_recipe_stay_beside_weights_of_smaller_images(photos, tmp_path):
    for changes in ((), (("stem_stride", "4"), ("output_stride", "32"))):
        changes = (("input_size", "128,128"), *changes)
        choice = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes)
        assert choice.recipe.start_from == "cifar10_stride2"
        assert with_start(choice.recipe, None, choice.given) == choice.recipe


def test_output_stride_of_a_recipe_follows_the_stem_of_its_weights():
    """`cifar10` has a stem of stride 1, which cannot have an output stride of 16."""
    changes = [("output_stride", "16"), ("start_from", "cifar10")]
    recipe = override(load_recipes("groupnet_resnet18").find("imagenet2012"), changes)
    model = with_start(recipe, None).model
    assert (model.stem_stride, model.output_stride) == (1, 8)
    with pytest.raises(ConfigError, match="with stem_stride=1. Received: output_stride=16"):
        with_start(recipe, None, {"output_stride"})


def test_weights_of_photographs_that_do_not_fit_are_named_with_the_reason(photos, tmp_path):
    def said(model, *changes):
        choice = choose(model, tmp_path, dataset=photos, changes=changes)
        assert choice.recipe.model.decomposition == {"birealnet18": "group"}.get(model, "gated")
        return choice.recipe.start_from, choice.notes[-1]

    assert said("groupnet_resnet18")[0] == "cifar10"
    start, line = said("groupnet_resnet18", ("stem_stride", "2"), ("num_bases", "2"))
    assert start == "cifar10_stride2" and "copies" not in line
    assert said("groupnet_resnet18", ("stem_stride", "1"))[0] == "cifar10"
    for model, change, reason in (
        ("groupnet_resnet18", ("num_bases", "1"), "num_bases: 3 in the file, 1 in the model"),
        ("groupnet_resnet18", ("relu", "false"), "relu: True in the file, False in the model"),
        ("birealnet18", ("width", "0.25"), "'gated' in the file, 'group' in the model"),
    ):
        start, line = said(model, change)
        assert start == "" and "starts from random weights" in line and reason in line


def test_large_images_get_the_stem_for_large_images(photos, tmp_path):
    def stem(*changes):
        found = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes).recipe.model
        return found.stem_stride, found.output_stride

    assert stem(("input_size", "224")) == (4, 32)
    assert stem(("input_shape", "(32, 32, 3)")) == (1, 8)
    assert stem(("input_shape", "(32, 32, 3)"), ("start_from", "none")) == (1, 8)
    assert stem(("input_shape", "(32, 32, 3)"), ("stem_stride", "1")) == (1, 8)
    assert stem(("input_size", "224"), ("stem_stride", "2"), ("output_stride", "16")) == (2, 16)


@pytest.mark.parametrize("recipe", [None, "digits"])
def test_size_that_is_left_open_is_refused(photos, tmp_path, recipe):
    said = r"a fixed height and width to train and convert. Received: \(None, 24, 3\)"
    with pytest.raises(RecipeError, match=said):
        choose(
            "groupnet_resnet18", tmp_path, dataset=photos, recipe=recipe,
            changes=[("input_shape", "(None, 24, 3)")],
        )  # fmt: skip


def test_recipe_that_is_named_asks_for_the_size_of_larger_images(photos, tmp_path):
    with pytest.raises(RecipeError, match=r"input_size: .*16 x 16.*up to 20 x 40 pixels"):
        choose("groupnet_resnet18", tmp_path, dataset=photos, recipe="digits")


def test_recipe_is_named_apart_from_its_dataset(photos, tmp_path):
    recipe = choose("groupnet_resnet18", tmp_path, recipe="imagenet2012", dataset=photos).recipe
    assert (recipe.dataset, recipe.batch_size) == (photos, 256)
    assert recipe.model.input_shape == (224, 224, 3)
    with pytest.raises(RecipeError, match="Did you mean 'imagenet2012'"):
        choose("groupnet_resnet18", tmp_path, recipe="imagenet")


def test_bad_images_are_left_out_where_the_dataset_has_no_recipe(photos, tmp_path):
    (tmp_path / "photos/cat/bad.png").write_bytes(b"no image")
    changes = [("input_size", "16"), ("on_bad_image", "skip")]
    with pytest.warns(UserWarning, match="left out 1 bad file"):
        recipe = choose("groupnet_resnet18", tmp_path, dataset=photos, changes=changes).recipe
    assert recipe.on_bad_image == "skip"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("epochs", "2,12")], "epochs: expected one value with --phase binary"),
        ([("tanh.epochs", "2"), ("tanh.seed", "2")], "unknown key"),
        ([("tanh.learning_rate", "2")], "phase tanh, which has no epochs"),
    ],
)
def test_options_of_other_phases_are_refused_beside_phase(changes, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        choose("groupnet_resnet18", tmp_path, changes=changes, phase="binary")


@pytest.mark.parametrize(
    ("key", "text", "beside"),
    [
        ("eval_scales", "(0.5, 1.0)", "a head that scores pixels"),
        ("eval_flip", "true", "a head that scores pixels"),
        ("eval_crop", "true", "a head that scores pixels"),
        ("colour_jitter", "0.5", "an augmentation that takes it"),
        ("base_size", "77", "an augmentation that takes it"),
        ("temperature", "9.0", "soft_targets above 0"),
        ("binary.temperature", "9.0", "soft_targets above 0"),
        ("coupled_decay", "true", "a weight_decay above 0"),
        ("stem_pool", "after_norm", "stem_stride=4, whose stem has a pool,"),
    ],
)
def test_what_nothing_reads_is_refused(key, text, beside, tmp_path):
    with pytest.raises(RecipeError, match=rf"{key}: expected {beside} with it"):
        choose("groupnet_resnet18", tmp_path, changes=[(key, text)])
    dense = [("augmentation", "segmentation"), ("weight_decay", "1e-4"), ("teacher", "x")]
    dense += [("soft_targets", "0.5")]
    if key == "colour_jitter":
        dense[0] = ("augmentation", "colour")
    choose("groupnet_dsp", tmp_path, changes=[*dense, (key, text)])


def test_class_whose_name_cannot_be_printed_is_refused_before_training(masks, tmp_path):
    """Otherwise the converted file would be refused."""
    (tmp_path / "cut" / "classes.txt").write_text("background\npa\x07rt\n")
    recipe = choose("groupnet_dsp", tmp_path, dataset=masks, changes=[("input_size", "32")]).recipe
    with pytest.raises(RecipeError, match=r"classes: expected names .* Received: 'pa\\x07rt' in"):
        check_recipe(recipe, tmp_path)


def test_integers_beside_another_phase_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="int8_epochs: expected no --phase other than int8"):
        choose("groupnet_resnet18", tmp_path, phase="binary", int8_epochs=1)


def test_zoo_of_the_working_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipes("resnet18").path == ROOT / "zoo/resnet18.py"
    (tmp_path / "zoo").mkdir()
    source = (ROOT / "zoo/resnet18.py").read_text()
    (tmp_path / "zoo/resnet18.py").write_text(source.replace("batch_size=32", "batch_size=31"))
    choice = choose("resnet18", tmp_path)
    assert choice.recipe.batch_size == 31
    assert choice.notes == ("Recipe: zoo/resnet18.py",)
    assert load_recipes("groupnet_dsp").path.is_relative_to(ROOT)  # Absent from ./zoo.
    assert len(zoo_folders()) == 3


@pytest.mark.parametrize("source", ["RECIPES = ()", "x = 1", "RECIPES = (1,)", "1 / 0", "import ("])
def test_file_without_recipes_is_one_line(source, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(RecipeError, match="expected a Python file with RECIPES") as error:
        load_recipes(str(tmp_path / "mine.py"))
    assert "\n" not in str(error.value)


def test_file_imports_what_lies_beside_it_and_leaves_the_path_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "sizes_of_mine.py").write_text("BATCH = 31")
    monkeypatch.delitem(sys.modules, "sizes_of_mine", raising=False)
    source = (ROOT / "zoo/resnet18.py").read_text().replace("batch_size=32", "batch_size=BATCH")
    start = '"""Mine."""\nfrom sizes_of_mine import BATCH\n'
    (tmp_path / "mine.py").write_text(start + source)
    (tmp_path / "bad.py").write_text(start + "1 / 0")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.py").symlink_to(tmp_path / "mine.py")
    before = [*sys.path]
    assert load_recipes(str(tmp_path / "mine.py")).recipes[0].batch_size == 31
    assert load_recipes(str(tmp_path / "elsewhere" / "link.py")).recipes[0].batch_size == 31
    with pytest.raises(RecipeError, match="division by zero"):
        load_recipes(str(tmp_path / "bad.py"))
    assert sys.path == before


def test_two_recipes_for_one_dataset_are_refused_by_name(tmp_path):
    source = (ROOT / "zoo/resnet18.py").read_text()
    source += (
        "\nimport dataclasses\nRECIPES = (*RECIPES, dataclasses.replace(RECIPES[0], name='b'))"
    )
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(RecipeError, match="Received: resnet18 and b for digits. Give each a file"):
        load_recipes(str(tmp_path / "mine.py"))


def test_imagenet_recipes_differ_in_the_network_alone():
    """Every file spells them out, and they must not drift apart."""
    names = ("groupnet_resnet18", "groupnet_resnet34", "groupnet_resnet50", "birealnet18")
    recipes = [load_recipes(name).find("imagenet2012").to_dict() for name in names]
    for phase in (*recipes[0]["phases"], *recipes[-1]["phases"]):
        del phase["optimizer"]  # Bi-Real Net's gradients are scaled differently.
    for recipe in recipes:
        del recipe["name"], recipe["model"]
    assert recipes[0] == recipes[-1]
    optimizers = [
        [phase.optimizer for phase in load_recipes(name).find("imagenet2012").phases]
        for name in names[:3]
    ]
    assert optimizers[0] == optimizers[1] == optimizers[2]
    for recipe in recipes[1:3]:
        for phase in recipe["phases"]:
            del phase["optimizer"]
        assert recipe == recipes[0]
    searches = [load_recipes(name).search for name in names[:3]]
    assert searches[0] == searches[1] == searches[2]


def test_zoo_file_trains_the_model_of_its_name():
    """The file spells out its networks, which must match those that `get_model` builds."""
    from larq_groupnet.family import get_config, list_models

    files = [path.stem for path in (ROOT / "zoo").glob("*.py")]
    for file in files:
        for recipe in load_recipes(file).recipes:
            name, config = recipe.name, recipe.model
            assert name in list_models() and (name == file or file == "photos")
            # birealnet18 pads small maps with ones, as LCE requires.
            free = {"num_bases", "width", "atrous_rates", "input_quantizer", "padding"}
            if recipe.dataset == "voc2012_released":
                free |= {"align_corners", "shared_shortcut", "spatial_dropout"}
            if recipe.dataset in ("cifar10", "camvid") or file == "photos":
                free |= {"stem_stride", "projection"}  # The same for all photographs.
            if (name, recipe.dataset) == ("groupnet_resnet18", "cifar10"):
                free.add("stage_blocks")  # Wider instead of deeper, see docs/evidence.md.
            if recipe.dataset == "camvid":
                free.add("head")  # FCN-16s.
            same = {key: getattr(config, key) for key in ("input_shape", "num_classes")}
            named = get_config(name, **same)
            different = {
                key for key, value in named.to_dict().items() if config.to_dict()[key] != value
            }
            assert different <= free, (name, recipe.dataset)


def test_network_that_would_not_convert_is_refused_before_training(tmp_path):
    changes = [("width", "0.0625"), ("padding", "zero"), ("epochs", "0,1")]
    changes += [("stage_blocks", "(1, 1, 1, 1)")]
    recipe = choose("birealnet18", tmp_path, changes=changes).recipe
    with pytest.raises(RecipeError, match="zero padding of a map of 2 x 2"):
        check_recipe(recipe, tmp_path)
    assert check_recipe(override(recipe, [("padding", "same")]), tmp_path) > 10_000
