"""Runs the code blocks of pages as written: `python tests/documents.py README.md docs/data.md`.

The blocks of a page run in order, in a folder with everything that the pages assume (see
`make_world`). Python blocks of a page share their names. Commands of this package run through the
function behind its console script, so that TensorFlow is imported once.

A block that cannot run here follows a line that readers do not see:

    <!-- not run: needs a GPU -->

To save time, `zoo/` has the repository's recipes with tiny networks and one step (see
`small_recipes`), registered weights belong to tiny networks (see `register_small_sets`),
`digit_scenes` has the scenes of `SCENES`, and `SHORT` and `SHORT_PYTHON` replace a page's numbers
of epochs and trials and its networks. A training whose files no block needs ends before its first
step, after all checks (see `JUDGED`). A search trial trains nothing: its metric is 0.5. All
trainings except the one in `make_world` run eagerly, because tracing takes longer.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent

SHORT = {
    "--epochs": "--epochs=0,1",
    "--int8_epochs": "--int8_epochs=1",
    "folder:": "--set=steps_per_epoch=2",
    "--tune": "--trial_epochs=0,1 --max_trials=1 --uniform=",
}
"""What a command of `train` contains -> what it gets in place of its own."""

SMALLER = (
    "--set=layout=two_stages --set=stage_blocks=(1,1) --set=output_stride=4"
    " --set=atrous_rates=(1,2)"
).split()
"""What a training of `groupnet_dsp` on scenes gets too; classifiers of pages name four stages."""

JUDGED = ("runs/parts", "runs/masks", "runs/mine")
"""The folders of trainings whose converted file a page uses."""

TRAINED = "runs/teacher"
"""That of a training whose weights a page uses; all others end before their first step."""

TRAIN = "larq_groupnet.training.run.train_with_precision"
"""What takes those steps, once the recipe, the data, the network and the folder are checked."""

TRIAL = "larq_groupnet.tuning.trial.Trainer.train"
"""What trains the candidates of a search."""

SHORT_PYTHON = {
    "max_trials=8": "max_trials=1",
    '[], "1,4")': '[], "0,1")',
    "num_classes=11, num_bases=3, width=0.25)": (
        'num_classes=11, num_bases=2, width=0.0625, layout="two_stages", output_stride=4,'
        " atrous_rates=(1, 2))"
    ),
    '"groupnet_resnet20", width=0.5': (
        '"groupnet_resnet20", width=0.5, num_bases=1, stage_blocks=(1, 1, 1)'
    ),
    'GroupNetDSP(layout="resnet20", ': (
        'GroupNetDSP(layout="resnet20", num_bases=1, stage_blocks=(1, 1, 1), '
    ),
    '(head="fcn4s", ': '(head="fcn4s", num_bases=1, stage_blocks=(1, 1, 1, 1), ',
    '(decomposition="ring", ': '(decomposition="ring", stage_blocks=(1, 1, 1, 1), ',
}
"""What a block of Python contains -> what is run."""

SCENES = {"train": (8, 1), "validation": (4, 2), "test": (4, 3)}
"""Of `digit_scenes` here: split -> (number of scenes, seed)."""

PROGRAMS = (["python", "train.py"], ["python", "-m", "larq_groupnet"], ["larq-groupnet"])
"""How the pages call the package."""

RUNTIME = "larq-groupnet-run "

MARK = "not run: "
FLAGS, SNIPPET = "--", '--8<-- "'


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    not_run: str
    """Why it does not run here; empty if it does."""


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page."""
    pattern = r"^(?:<!-- ([^\n]+) -->\n)?```(\w+)[^\n]*\n(.*?)^```$"
    name = page.resolve().relative_to(ROOT).as_posix()
    found = []
    for comment, language, text in re.findall(pattern, page.read_text(), re.S | re.M):
        reason = comment.removeprefix(MARK) if comment.startswith(MARK) else ""
        found.append(Block(name, language, text, reason))
    return found


def commands(text: str) -> list[str]:
    """The commands of a shell block, with continued lines joined and comments dropped."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"\s+#.*$", "", line).strip() for line in lines) if line]


def own_command(words: list[str]) -> list[str] | None:
    """The words of a command of this package without the program; `None` for other commands."""
    for start in PROGRAMS:
        if words[: len(start)] == start:
            return ["train"] * (start[-1] == "train.py") + words[len(start) :]
    return None


def run_command(command: str) -> None:
    """Runs a command of this package through its function, any other in the shell."""
    if command.startswith(FLAGS):  # These flags set the space of a search.
        with mock.patch("larq_groupnet.tuning.search.search", return_value=None):
            start = "train --model=groupnet_resnet18 --tune --epochs=1"
            run_own(shlex.split(f"{start} {command}"))
        return
    words = own_command(shlex.split(command))
    if words is None:
        if command.startswith("unzip ") and shutil.which("unzip") is None:
            return  # Not installed everywhere.
        command = command.replace(RUNTIME, "python -m larq_groupnet_runtime.cli ")
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return
    if words[0] == "train":
        for part, more in SHORT.items():
            if part in command:
                words = [*without(words, *more.split()), *more.split()]
        if "--model groupnet_dsp" in command and not {"--dataset", "--evaluate"} & {*words}:
            words += SMALLER
        if not {*JUDGED, "--evaluate", "--tune"} & {*words}:
            words.append("--judge=none")
            if TRAINED not in words:
                with mock.patch(TRAIN, return_value=Path("binary.h5")):
                    return run_own(words)
    run_own(words)


def without(words: list[str], *flags: str) -> list[str]:
    """The words without these flags and their values, so that new values can be added."""
    names = {flag.partition("=")[0] for flag in flags}
    pairs = zip(["", *words], words, strict=False)
    return [w for before, w in pairs if not names & {before, w.partition("=")[0]}]


def run_own(words: list[str]) -> None:
    """Runs a command of this package and expects status 0."""
    from larq_groupnet.cli import main

    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(words)
    assert status == 0, f"{shlex.join(words)} ended with {status}: {said.getvalue()[-2000:]}"


def run_python(text: str, page: str, names: dict) -> None:
    """Runs a Python block, or the file that it includes."""
    if text.startswith(SNIPPET):
        names.update(runpy.run_path(str(ROOT / text.split('"')[1])))
        return
    for part, short in SHORT_PYTHON.items():
        text = text.replace(part, short)
    exec(compile(text, page, "exec"), names)


def run_page(page: Path) -> list[str]:
    """Runs every unmarked block of a page. Returns which blocks failed, and why."""
    import numpy as np

    import larq_groupnet

    rng = np.random.default_rng(0)
    names = {"__name__": "__main__", "larq_groupnet": larq_groupnet}
    if page.stem == "data":
        names |= {"images": rng.integers(0, 256, (40, 16, 16, 3), np.uint8)}
        names |= {"labels": np.arange(40) % 2}
    elif page.stem == "deploy":
        names |= {"images": rng.uniform(-1, 1, (2, 192, 192, 3)).astype("float32")}
    for file in ("model.tflite", "other.tflite"):  # Another page may have replaced them.
        shutil.copy("runs/mine/model.tflite", file)
    failed = []
    for block in blocks(page):
        shell = block.language in ("sh", "bash")
        if block.not_run or not (shell or block.language == "python"):
            continue
        for part in commands(block.text) if shell else [block.text]:
            start = time.process_time()
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    if shell:
                        run_command(part)
                    else:
                        run_python(part, block.page, names)
            except BaseException:
                failed.append(f"{part}\n{traceback.format_exc()[-3000:]}")
                print(f"FAILED {block.page}: {failed[-1]}", flush=True)
            took = time.process_time() - start
            print(f"{took:6.1f} s {block.page}: {part.splitlines()[0]}", flush=True)
    return failed


def make_world(folder: Path) -> None:
    """A folder with everything that the pages assume: runs, their files, and pictures."""
    import numpy as np
    import tensorflow as tf
    import two_stages  # noqa: F401 (registers a layout)
    from PIL import Image

    (folder / "zoo").mkdir()
    for file in (ROOT / "zoo").glob("*.py"):
        call = f"small_recipes({file.stem!r})"
        text = f"from documents import small_recipes\nRECIPES, SEARCH = {call}\n"
        (folder / "zoo" / file.name).write_text(text)
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for name in ("pictures/scene.png", "photo.jpg"):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / name)
    Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / "digit.png")
    register_small_sets(folder)
    write_photos(folder / "photos")
    write_keras_model(folder / "mine.keras")
    run_command("python train.py --model groupnet_dsp --output_dir runs/mine")
    tf.config.run_functions_eagerly(True)
    for alias in ("runs/NAME", "RUN", "RUN_OR_FILE"):
        (folder / alias).symlink_to(folder / "runs/mine")
    write_backbone(folder / "runs/groupnet_resnet34")
    write_scenes(folder / "second-set")
    (folder / "PATH").symlink_to(folder / "photos/parts")


def small_recipes(name: str) -> tuple[tuple, dict]:
    """A zoo/ file's recipes and search space; default recipes get tiny networks and one step."""
    from larq_groupnet.recipes import Recipe
    from larq_groupnet.recipes.load import load_recipes
    from larq_groupnet.recipes.overrides import override

    file = load_recipes(name, ROOT / "zoo")

    def small(recipe: Recipe) -> Recipe:
        changes = {"width": "0.0625", "stage_blocks": "(1,2,1,2)", "batch_size": "2"}
        changes |= {"steps_per_epoch": "1", "epochs": "0,1" if len(recipe.phases) > 1 else "1"}
        if recipe.model.decomposition != "none":
            changes["num_bases"] = "1"
        if recipe.dataset == "digits":  # 360 validation images.
            changes |= {"batch_size": "32"}
        else:
            changes |= {"stage_blocks": "(1,1,1,1)", "input_size": "32,32"}
        return override(recipe, list(changes.items()))

    kept = ("imagenet", "voc2012")
    recipes = tuple(x if x.dataset.startswith(kept) else small(x) for x in file.recipes)
    few = {"num_bases": (1, 2), "width": (0.0625, 0.125)}
    return recipes, {dataset: {**space, **few} for dataset, space in file.search.items()}


def register_small_sets(folder: Path) -> None:
    """Registers random weights of tiny networks under the names that pages use."""
    from larq_groupnet import build
    from larq_groupnet.weights import packed
    from larq_groupnet.weights.registry import named, register

    for name in ("digits", "digit_scenes"):
        (entry,) = named(name)
        tiny = {"width": 0.0625, "num_bases": 1, "stage_blocks": (1, 1, 1, 1)}
        config = entry.metadata.config.replace(**tiny)
        about = dataclasses.replace(entry.metadata, config=config)
        file = packed.save(build(config), about, folder / f"{name}.safetensors")
        register(file, name, entry.model)


def write_photos(folder: Path) -> None:
    """Two folders of small photos in three classes, and photos with black and white masks."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(24):
        place = folder / ("parts", "new")[number % 2] / ("bolt", "bracket", "nut")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        shape = (64, 48, 3) if number % 4 < 2 else (48, 64, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(place / f"{number}.jpg")
    for name in ("images", "masks"):
        (folder / "masks" / name).mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (64, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "masks/images" / f"{number}.jpg")
        mask = 255 * (pixels[..., 0] > 100).astype(np.uint8)
        Image.fromarray(mask).save(folder / "masks/masks" / f"{number}.png")
    (folder / "masks/map.txt").write_text("0 background\n255 part\n* void\n")


def write_keras_model(file: Path) -> None:
    """A model of Larq's layers, saved by Keras."""
    import larq as lq
    import tensorflow as tf

    layers = tf.keras.layers
    binary = {"kernel_quantizer": "ste_sign", "input_quantizer": "ste_sign", "pad_values": 1.0}
    first = [layers.Input((8, 8, 3)), layers.Conv2D(8, 3), layers.BatchNormalization()]
    conv = lq.layers.QuantConv2D(8, 3, padding="same", use_bias=False, **binary)
    last = [layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
    tf.keras.Sequential([*first, conv, *last]).save(file)


def write_backbone(folder: Path) -> None:
    """The files of a `groupnet_resnet34` run that another network needs to start from it."""
    from larq_groupnet import build
    from larq_groupnet.recipes import load_recipe, override

    recipe = load_recipe("groupnet_resnet34", ROOT / "zoo", "imagenet2012")
    recipe = override(
        recipe, [("width", "0.0625"), ("num_bases", "1"), ("stage_blocks", "(1,1,1,1)")]
    )
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    build(recipe.model).save_weights(folder / "binary.h5")


def write_scenes(folder: Path) -> None:
    """Images with masks in the classes of `digit_scenes`."""
    import numpy as np
    from PIL import Image

    from larq_groupnet.data.scenes import CLASS_NAMES

    rng = np.random.default_rng(1)
    for part, values in (("images", 256), ("masks", len(CLASS_NAMES))):
        (folder / part).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, values, (32, 32), np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    (folder / "classes.txt").write_text("\n".join(CLASS_NAMES))


def main(names: list[str]) -> int:
    """Runs pages in a new folder. The last line printed lists the failures as JSON."""
    import tempfile

    from larq_groupnet._stack import quiet

    quiet()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(ROOT)
    chosen = [Path(name).resolve() for name in names] or pages()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"LARQ_GROUPNET_CACHE": f"{folder}/cache", "TFDS_DATA_DIR": f"{folder}/data"}
        with (
            mock.patch.dict("larq_groupnet.data.digit_scenes.SPLITS", SCENES),
            mock.patch(TRIAL, return_value=0.5),
        ):
            make_world(Path(folder))
            failed = {page.relative_to(ROOT).as_posix(): run_page(page) for page in chosen}
    print(json.dumps(failed))
    return any(failed.values())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
