"""From a name to a file to a model: what is found where, and what an error says."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT

import larq_groupnet
from larq_groupnet import GroupNetConfig, copy_weights
from larq_groupnet.errors import UserError, WeightsError
from larq_groupnet.family import get_config
from larq_groupnet.network.build import build
from larq_groupnet.recipes.start import with_start
from larq_groupnet.runs.start import check_start
from larq_groupnet.training import load_recipe
from larq_groupnet.weights import packed, registry
from larq_groupnet.weights.checkpoint import LICENCE
from larq_groupnet.weights.checkpoint_keys import describe
from larq_groupnet.weights.download import DownloadError, sha256
from larq_groupnet.weights.metadata import Metadata, Metric
from larq_groupnet.weights.registry import Entry, RegistryError
from larq_groupnet.weights.resolve import adopt, load_into, resolve
from tests.reference import random_images, randomise
from tests.weights.test_checkpoint import SIZE, imported

TINY = {"input_shape": (32, 32, 3), "stage_blocks": (1, 1, 1, 1), "width": 0.0625}
ABOUT = {
    "dataset": "digits",
    "classes": (),
    "preprocessing": {},
    "metrics": (Metric("top-1", 0.25, command="python train.py"), Metric("top-5", 1, paper="T. 1")),
    "licence": "CC0\nand more",
}
MODEL = "groupnet_resnet18"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, an empty package and no release base."""
    package = tmp_path / "package"
    (package / "files").mkdir(parents=True)
    (package / "registry.json").write_text("[]")
    monkeypatch.setattr(registry, "_PACKAGE", package)
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LARQ_GROUPNET_WEIGHTS", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """K -> release file, model and configuration of a tiny classifier."""
    made = {}
    for bases in (1, 2):
        config = get_config(MODEL, num_classes=4, num_bases=bases, **TINY)
        model = build(config)
        randomise(model.weights, seed=bases)
        path = tmp_path_factory.mktemp("files") / f"k{bases}.safetensors"
        made[bases] = packed.save(model, Metadata(config, **ABOUT), path), model, config
    return made


def publish(folder, path, name="imagenet", model=MODEL):
    """Writes a file and its entry as a package or a release base has them."""
    entry = dataclasses.replace(registry.register(path, name, model), file=f"v1/{path.name}")
    (folder / "v1").mkdir(parents=True, exist_ok=True)
    (folder / "v1" / path.name).write_bytes(path.read_bytes())
    local = registry.cache_folder()
    for file in local.iterdir():
        file.unlink()
    (local / "registry.json").write_text(json.dumps([entry.to_dict()]))
    return entry


def test_shipped_registry_is_honest(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", "/nowhere")
    for entry in registry.list_weights():
        assert all(bool(m.command) != bool(m.paper) for m in entry.metadata.metrics)
        assert registry.find_local(entry) or entry.file
    shipped = {entry.file for entry in registry.list_weights()}
    found = {path.name for path in (registry._PACKAGE / "files").glob("*.safetensors")}
    assert found <= shipped
    for entry, state in registry.verify():
        assert state == ("intact" if entry.file in found else "absent")


# Paths.


def test_path_of_either_kind_and_format_is_a_path(tmp_path, files):
    release, trained, config = files[2]
    weights = tmp_path / "weights.h5"
    trained.save_weights(weights)
    for given in (release, str(release)):
        assert adopt(given, MODEL, get_config(MODEL), ()) == config
    for given in (weights, str(weights)):
        assert adopt(given, MODEL, config, ()) is config
    model = build(config)
    images = random_images(2, 32, 32, 3).astype("float32")
    for path in (release, weights):
        assert resolve(path, MODEL, config) == resolve(str(path), MODEL, config) == path
        randomise(model.weights)
        load_into(model, config, path)
        np.testing.assert_array_equal(model(images), trained(images))


def test_str_that_names_a_file_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").write_text("")
    assert resolve("imagenet", MODEL, GroupNetConfig()).samefile(tmp_path / "imagenet")


@pytest.mark.parametrize("path", ["absent.h5", "absent.keras", "runs/absent", "a.safetensors"])
def test_path_to_nothing_is_named(path):
    with pytest.raises(FileNotFoundError, match=rf"weights='{path}' \(no such file\)"):
        resolve(path, MODEL, GroupNetConfig())


# Names.


def commands(error):
    return re.findall(r"python .*?(?= \(|$)", str(error.value), re.MULTILINE)


def test_missing_weights_say_the_two_ways_to_get_them(cache):
    config = get_config("groupnet_resnet34")
    for call in (resolve, lambda *args: adopt(*args, ())):
        with pytest.raises(RegistryError) as error:
            call("imagenet", "groupnet_resnet34", config)
        assert f"neither published nor registered in {cache}. Registered: none." in str(error.value)
        assert "weights='imagenet' for groupnet_resnet34" in str(error.value)
        assert commands(error) == [
            "python -m larq_groupnet import-checkpoint FILE.pth.tar --as imagenet",
            "python train.py --model groupnet_resnet34 --dataset imagenet2012 "
            "--output_dir runs/groupnet_resnet34",
        ]


def test_layout_without_a_checkpoint_says_so():
    with pytest.raises(RegistryError, match="authors published no checkpoint of resnet50") as error:
        resolve("imagenet", "groupnet_resnet50", get_config("groupnet_resnet50"))
    assert len(commands(error)) == 1


def test_another_name_is_hinted_at(files):
    registry.register(files[1][0], "digits", MODEL)
    with pytest.raises(RegistryError, match="Did you mean 'digits'") as error:
        resolve("digit", MODEL, files[1][2])
    assert f"Registered: 'digits' for {MODEL}." in str(error.value)
    assert commands(error) == []


def test_name_that_exists_is_not_taken_for_a_slip(files):
    registry.register(files[1][0], "digit_scenes", MODEL)
    with pytest.raises(RegistryError) as error:
        resolve("imagenet", "groupnet_resnet34", get_config("groupnet_resnet34"))
    assert "Did you mean" not in str(error.value)


def test_image_size_that_is_the_default_counts_as_given(files):
    """Weights of a convolutional network fit every size, so that a given one is always kept."""
    path, _, theirs = files[1]
    registry.register(path, "imagenet", MODEL)
    default = get_config(MODEL).input_shape
    assert theirs.input_shape != default
    model = larq_groupnet.GroupNetResNet18(
        input_shape=default, weights="imagenet", num_classes=theirs.num_classes
    )
    assert model.input_shape[1:] == default
    config = get_config(MODEL, num_classes=theirs.num_classes)
    recipe = dataclasses.replace(load_recipe(MODEL, ROOT / "zoo"), model=config)
    assert with_start(recipe, "imagenet").model == theirs.replace(input_shape=default)


def test_imported_checkpoint_serves_the_same_call(tmp_path):
    """What `import-checkpoint --as imagenet` does, and then `weights="imagenet"`."""
    call = {"num_bases": 2, "input_shape": SIZE, "num_classes": 5}
    given = {"layout", "head", *call}
    config = get_config(MODEL, **call)
    with pytest.raises(RegistryError):
        adopt("imagenet", MODEL, config, given)

    state, model_of_it = imported("scales only")
    theirs = describe(state, SIZE)[1]
    about = Metadata(theirs, **{**ABOUT, "licence": LICENCE, "metrics": ()})
    file = packed.save(model_of_it, about, tmp_path / "imported.safetensors")
    registry.register(file, "imagenet", MODEL)
    file.unlink()

    config = adopt("imagenet", MODEL, config, given)
    assert config == theirs
    model = build(config)
    load_into(model, config, resolve("imagenet", MODEL, config))
    images = random_images(2, *SIZE).astype("float32")
    np.testing.assert_array_equal(model(images), model_of_it(images))
    (entry,) = registry.list_weights()
    assert entry.metadata.licence == LICENCE and entry.metadata.metrics == ()


def test_segmentation_network_takes_the_backbone_of_a_classifier(files):
    path, trained, theirs = files[2]
    registry.register(path, "imagenet", MODEL)
    options = {"input_shape": (64, 64, 3), "num_classes": 3}
    before = get_config("groupnet_dsp", **options)
    config = adopt("imagenet", "groupnet_dsp", before, options)
    assert config == adopt(path, "groupnet_dsp", before, options)
    kept = ("head", "num_classes", "input_shape", "output_stride", "atrous_rates", "dropout")
    assert all(getattr(config, name) == getattr(before, name) for name in kept)
    assert config.replace(**{name: getattr(theirs, name) for name in kept}) == theirs
    model = build(config)
    with pytest.warns(UserWarning, match="left out, because the head differs: head_conv1"):
        load_into(model, config, resolve("imagenet", "groupnet_dsp", config))
    values = {w.name: w.numpy() for w in trained.weights}
    _, stored = packed.read(path)
    shared = [weight for weight in model.weights if weight.name.startswith("st")]
    assert len(shared) == len(values) - 2
    for weight in shared:
        np.testing.assert_array_equal(weight.numpy(), stored[weight.name])


def test_name_of_the_model_may_stand_before_that_of_the_set(files):
    """Which tells two sets of one name apart, of which the nearest is taken otherwise."""
    for bases, model in ((1, MODEL), (2, "groupnet_dsp")):
        registry.register(files[bases][0], "mine", model)
    for bases, model in ((1, MODEL), (2, "groupnet_dsp")):
        name, theirs = f"{model}:mine", files[bases][2]
        config = adopt(name, MODEL, theirs, ())
        assert config.num_bases == bases
        assert sha256(resolve(name, MODEL, config)) == sha256(files[bases][0])
        assert get_config(MODEL, weights=name, num_classes=4).num_bases == bases
    larq_groupnet.GroupNetResNet18(weights=f"{MODEL}:mine")
    recipe = dataclasses.replace(load_recipe(MODEL, ROOT / "zoo"), model=files[1][2])
    recipe = with_start(recipe, f"{MODEL}:mine")
    check_start(recipe)
    assert recipe.start_from == f"{MODEL}:mine"
    for other, model in (("birealnet18", MODEL), ("groupnet_resnet34", "groupnet_dsp")):
        with pytest.raises(RegistryError) as error:
            adopt(f"{model}:mine", other, get_config(other), ())
        assert "\n" not in str(error.value)
        said = f"weights='{model}:mine' for {other}, which is registered for {model}. Sets"
        assert said in str(error.value)
    for slip in ("groupnet_resnet18:mime", "groupnet_resnet1:mine"):
        with pytest.raises(RegistryError, match=f"Did you mean '{MODEL}:mine'"):
            adopt(slip, MODEL, files[1][2], ())


def test_network_of_another_family_is_not_turned_into_this_one(files):
    registry.register(files[1][0], "imagenet", MODEL)
    with pytest.raises(RegistryError, match="weights='imagenet' for birealnet18"):
        adopt("imagenet", "birealnet18", files[1][2], ())


def test_given_options_win_and_the_nearest_set_is_taken(files):
    for bases in (1, 2):
        registry.register(files[bases][0], "imagenet", MODEL)
    for bases in (1, 2):
        _, _, theirs = files[bases]
        config = get_config(MODEL, num_bases=bases)
        assert adopt("imagenet", MODEL, config, {"num_bases"}) == theirs
        assert sha256(resolve("imagenet", MODEL, theirs)) == sha256(files[bases][0])
        config = config.replace(padding="torch")
        assert adopt("imagenet", MODEL, config, {"num_bases", "padding"}).padding == "torch"


def test_another_network_is_refused_before_anything_is_fetched(files, tmp_path, monkeypatch):
    publish(tmp_path / "base", files[1][0])
    monkeypatch.setenv("LARQ_GROUPNET_WEIGHTS", "http://127.0.0.1:9/")
    other = files[1][2].replace(num_bases=3, shortcut="block")
    with pytest.raises(packed.MismatchError) as error:
        resolve("imagenet", MODEL, other)
    assert "\n" not in str(error.value)
    assert (
        "has different options than the model (num_bases: 1 in the file, 3 in the model; "
        "shortcut: 'conv' in the file, 'block' in the model)"
    ) in str(error.value)


# Where files lie.


def test_package_then_cache_then_release_base(files, tmp_path, monkeypatch, cache):
    path, _, config = files[1]
    base = tmp_path / "base"
    entry = publish(base, path)
    assert registry.verify() == [(entry, "absent")]
    with pytest.raises(DownloadError, match="is absent, and no release base is set.*LARQ_GROUPNET"):
        resolve("imagenet", MODEL, config)
    monkeypatch.setenv("LARQ_GROUPNET_WEIGHTS", str(tmp_path / "elsewhere"))
    with pytest.raises(DownloadError, match="elsewhere/v1/k1.safetensors, which does not exist"):
        resolve("imagenet", MODEL, config)
    monkeypatch.setenv("LARQ_GROUPNET_WEIGHTS", str(base))
    assert resolve("imagenet", MODEL, config) == cache / "v1" / "k1.safetensors"
    monkeypatch.delenv("LARQ_GROUPNET_WEIGHTS")
    assert resolve("imagenet", MODEL, config) == cache / "v1" / "k1.safetensors"
    assert registry.verify() == [(entry, "intact")]
    shipped = tmp_path / "package" / "files" / "v1" / "k1.safetensors"
    shipped.parent.mkdir()
    shipped.write_bytes(path.read_bytes())
    assert resolve("imagenet", MODEL, config) == shipped


def test_damaged_file_is_fetched_anew_or_said_to_be_damaged(files, tmp_path, monkeypatch):
    path, _, config = files[1]
    publish(tmp_path / "base", path)
    monkeypatch.setenv("LARQ_GROUPNET_WEIGHTS", (tmp_path / "base").as_uri())
    found = resolve("imagenet", MODEL, config)
    content = bytearray(found.read_bytes())
    content[-1] ^= 1
    found.write_bytes(content)
    ((entry, state),) = registry.verify()
    assert state == "damaged"
    assert "damaged" in registry.table([(entry, state)])
    with monkeypatch.context() as without_base:
        without_base.delenv("LARQ_GROUPNET_WEIGHTS")
        with pytest.raises(DownloadError, match="is damaged, and no release base is set"):
            resolve("imagenet", MODEL, config)
    assert sha256(resolve("imagenet", MODEL, config)) == entry.sha256


def test_fetch_brings_every_file_of_a_name(files, tmp_path, cache, monkeypatch):
    entry = publish(tmp_path / "base", files[1][0])
    with pytest.raises(
        RegistryError, match=f"imagenet groupnet_dsp.* Registered: imagenet {MODEL}"
    ):
        registry.fetch("imagenet", "groupnet_dsp")
    with pytest.raises(RegistryError, match="Did you mean 'imagenet'. Registered"):
        registry.fetch("imagnet", MODEL)
    with pytest.raises(RegistryError, match=f"Did you mean '{MODEL}'. Registered"):
        registry.fetch("imagenet", "groupnet_resnet1")
    monkeypatch.setenv("LARQ_GROUPNET_WEIGHTS", str(tmp_path / "base"))
    assert registry.fetch("imagenet", MODEL) == [cache / entry.file]
    assert registry.fetch(f"{MODEL}:imagenet", MODEL) == [cache / entry.file]
    assert (cache / entry.file).read_bytes() == files[1][0].read_bytes()


# The registry itself.


def test_registered_sets_are_listed_with_all_that_is_known_of_them(files):
    assert registry.list_weights() == []
    assert registry.table([]) == "No weights are registered."
    path, _, config = files[2]
    entry = registry.register(path, "imagenet", MODEL)
    registry.register(path, "digits", MODEL)
    assert registry.list_weights("im*") == [entry]
    assert [e.name for e in registry.list_weights()] == ["digits", "imagenet"]
    assert (entry.size, entry.sha256) == (path.stat().st_size, sha256(path))
    assert entry.metadata.config == config
    table = registry.table(registry.verify())
    for text in ("top-1 0.25 (measured)", "top-5 1 (paper)", "CC0", "digits", MODEL, "intact"):
        assert text in table
    assert "and more" not in table


def test_set_replaces_the_one_of_the_same_name_and_configuration(files, tmp_path, cache):
    path, model, config = files[1]
    first = registry.register(path, "imagenet", MODEL)
    about = Metadata(config, **{**ABOUT, "dataset": "new"})
    other = packed.save(model, about, tmp_path / "a.safetensors")
    second = registry.register(other, "imagenet", MODEL)
    third = registry.register(files[2][0], "imagenet", MODEL)
    assert registry.list_weights() == [third, second]
    names = {p.name for p in cache.iterdir() if p.suffix == ".safetensors"}
    assert names == {second.file, third.file} and first.file not in names


def test_registering_what_is_no_release_file_changes_nothing(files, tmp_path, cache):
    (tmp_path / "bad.safetensors").write_bytes(files[1][0].read_bytes()[:-1])
    with pytest.raises(packed.FormatError):
        registry.register(tmp_path / "bad.safetensors", "imagenet", MODEL)
    for name in ("../imagenet", "", "Image Net"):
        with pytest.raises(RegistryError, match="name: expected lower-case letters"):
            registry.register(files[1][0], name, MODEL)
    assert not cache.exists()


def test_registering_at_once_loses_no_entry(files, monkeypatch):
    def slow(path, read=registry._read):
        entries = read(path)
        time.sleep(0.1)
        return entries

    monkeypatch.setattr(registry, "_read", slow)
    names = [f"set{i}" for i in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: registry.register(files[1][0], name, MODEL), names))
    assert sorted(entry.name for entry in registry.list_weights()) == names


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"file": "../../etc/passwd.safetensors"}, "a relative path"),
        ({"file": "/etc/a.safetensors"}, "a relative path"),
        ({"file": "a.pkl"}, "safetensors file"),
        ({"sha256": "0"}, "SHA-256"),
        ({"size": "1"}, "its size"),
        ({"name": "A b"}, "lower-case letters"),
        ({"extra": 1}, "extra"),
        ({"metadata": {}}, "config"),
        ({"metadata": 3}, "Received"),
    ],
    ids=str,
)
def test_registry_that_cannot_be_read_is_named(files, cache, change, text):
    entry = registry.register(files[1][0], "imagenet", MODEL)
    values = {**entry.to_dict(), **change}
    (cache / "registry.json").write_text(json.dumps([values]))
    with pytest.raises(RegistryError, match=rf"entries in {cache}/registry.json") as error:
        registry.list_weights()
    assert re.search(text, str(error.value))


@pytest.mark.parametrize("text", ["", "{", "3", "[3]", '{"a": 1}', "[" * 100_000], ids=len)
def test_registry_of_another_kind_is_named(cache, text):
    cache.mkdir()
    (cache / "registry.json").write_text(text)
    with pytest.raises(RegistryError, match="expected a list of entries in"):
        registry.list_weights()


def test_entry_that_is_wrong_names_the_field_alone(files):
    entry = registry.register(files[1][0], "imagenet", MODEL)
    for field, value in (("name", "My"), ("model", "a.b"), ("file", "/a"), ("size", 0)):
        with pytest.raises(RegistryError, match=f"^{field}: expected .* Received: .*{value!r}$"):
            dataclasses.replace(entry, **{field: value})


def test_entry_survives_json(files):
    entry = registry.register(files[1][0], "imagenet", MODEL)
    assert Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


def test_tensorflow_is_not_needed_to_find_weights(files):
    registry.register(files[1][0], "imagenet", MODEL)
    code = (
        "import sys\nfrom larq_groupnet.weights import list_weights, registry\n"
        "from larq_groupnet.weights.resolve import resolve\nentry = list_weights()[0]\n"
        "print(registry.table(registry.verify()))\n"
        "print(resolve('imagenet', entry.model, entry.metadata.config))\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("LARQ_GROUPNET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.cache_folder() == tmp_path / ".cache" / "larq_groupnet"


def test_weights_of_other_formats_of_tensorflow_say_how_to_take_them(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    (tmp_path / "epoch.index").touch()
    for name, said in (("saved", "a SavedModel; write its weights"), ("epoch", "load_weights")):
        with pytest.raises(FileNotFoundError, match=rf"expected a file \(.h5, .*{said}"):
            resolve(tmp_path / name, MODEL, get_config(MODEL))


@pytest.mark.parametrize("weights", [True, b"a.h5", object()])
def test_weights_of_no_kind_that_names_any_are_named(weights):
    kind = type(weights).__name__
    with pytest.raises(UserError, match=f"weights: expected None, a path, .* type {kind}"):
        resolve(weights, MODEL, get_config(MODEL))


def test_weights_are_copied_between_built_models_alone():
    for wrong in (None, "weights.h5"):
        with pytest.raises(WeightsError, match=f"two built models. .*{type(wrong).__name__}"):
            copy_weights(wrong, wrong)
