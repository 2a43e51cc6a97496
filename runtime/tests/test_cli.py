"""`larq-groupnet-run` as a user runs it: a process, its lines, its files, its status."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import CLASSES, photo, rewritten
from larq_groupnet_runtime import Interpreter, cli
from larq_groupnet_runtime.pictures import overlay

# Ends with the names of what must not be imported.
_RUN = """
import sys
from larq_groupnet_runtime.cli import main
status = main(sys.argv[1:])
print("imported", *{"tensorflow", "larq_groupnet", "larq", "keras"} & set(sys.modules))
sys.exit(status)
"""


def run(*arguments, env=None, cwd=None):
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, cwd=cwd
    )


def lines(done):
    found = done.stdout.splitlines()
    assert found[-1].strip() == "imported"
    return found[:-1]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A photo, another in a folder below, and a file that is no image."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    Image.fromarray(photo(50, 70)).save(folder / "one.png")
    Image.fromarray(photo(40, 30, 1)).save(folder / "more" / "one.jpg")
    (folder / "more" / "two.png").write_bytes(b"no image")
    return folder


def test_top_five_of_images(labels, images, tmp_path):
    done = run(labels, images / "one.png", images / "more" / "one.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = Interpreter(labels).scores(images / "one.png")
    best = np.argsort(-scores)
    expected = ", ".join(f"{CLASSES[label]} {scores[label]:.1%}" for label in best)
    assert lines(done)[0] == f"{images / 'one.png'}: {expected}"
    assert len(lines(done)) == 2
    assert not list(tmp_path.iterdir())


def test_masks_and_overlays_of_a_folder(pixels, images, tmp_path):
    done = run(pixels, images, "--output", tmp_path / "found")
    assert done.returncode == 1
    assert done.stderr == (
        f"larq-groupnet-run: skipped: {images / 'more' / 'two.png'}: expected an image. "
        "Received: no format that is known\n"
    )
    assert lines(done)[-1] == f"masks and overlays are in {tmp_path / 'found'}"
    network = Interpreter(pixels)
    for file, name in [("more/one.jpg", "more/one.png"), ("one.png", "one.png")]:
        classes = network.scores(images / file).argmax(-1)
        with Image.open(tmp_path / "found" / "masks" / name) as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), classes)
        height, width = classes.shape
        factor = -(-480 // width)
        with Image.open(tmp_path / "found" / "overlays" / name) as drawn:
            assert drawn.width == factor * width and drawn.height > factor * height
    assert len(list((tmp_path / "found").rglob("*"))) == 8


def test_other_files_of_a_folder_are_counted(labels, tmp_path):
    Image.fromarray(photo(20, 30)).save(tmp_path / "one.tif")
    for name in ("._one.tif", ".hidden.jpg", "a.heic", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    done = run(labels, tmp_path)
    assert done.returncode == 0 and len(lines(done)) == 1
    assert done.stderr == f"larq-groupnet-run: {tmp_path}: left out 3 other files, such as a.heic\n"


def test_second_run_reads_the_folder_without_its_own_results(pixels, tmp_path):
    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    for _ in range(2):
        done = run(pixels, tmp_path, "--output", tmp_path / "predictions")
        assert done.returncode == 0 and len(lines(done)) == 2


def test_results_of_the_runtime_and_of_predict_are_photos_to_neither(pixels, tmp_path, capsys):
    from larq_groupnet.inference.predict import find_images, predict_files
    from larq_groupnet.inference.sources import load_predictor

    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    for output in ("first", "second"):
        assert cli.main([str(pixels), str(tmp_path), "--output", str(tmp_path / output)]) == 0
        assert capsys.readouterr().out.count(": ") == 1, output
    assert find_images(tmp_path) == [tmp_path / "one.png"]
    assert predict_files(load_predictor(pixels), tmp_path, tmp_path / "third") == (1, [])
    capsys.readouterr()
    # Each may write over the other's.
    assert cli.main([str(pixels), str(tmp_path), "--output", str(tmp_path / "third")]) == 0
    assert capsys.readouterr().out.count(": ") == 1
    assert predict_files(load_predictor(pixels), tmp_path, tmp_path / "first") == (1, [])


def test_results_have_the_names_that_predict_gives(pixels, tmp_path, capsys):
    from larq_groupnet.inference.predict import predict_files
    from larq_groupnet.inference.sources import load_predictor

    frames = [Image.fromarray(photo(32, 32, seed)) for seed in range(2)]
    for name in ("a.gif", "a.png", "a.webp", "a.png.gif", "b.gif", "more/b.jpg", "more/b.tif"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        several = {} if path.suffix == ".jpg" else {"save_all": True, "append_images": frames[1:]}
        frames[0].save(path, **several)
    sources = [tmp_path / "in" / "a.gif", tmp_path / "in", tmp_path / "in" / "more"]
    predict_files(load_predictor(pixels), sources, tmp_path / "desktop")
    arguments = [str(pixels), *map(str, sources), "--output", str(tmp_path / "device")]
    assert cli.main(arguments) == 0
    desktop, device = (
        {
            path.relative_to(tmp_path / each): np.asarray(Image.open(path)).tolist()
            for path in (tmp_path / each / "masks").rglob("*.png")
        }
        for each in ("desktop", "device")
    )
    assert desktop == device and len(device) == 7


def test_drawn_masks_are_not_replaced(pixels, tmp_path, capsys):
    for name in ("images/one.png", "masks/one.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(photo(32, 32)).save(tmp_path / name)
    before = (tmp_path / "masks" / "one.png").read_bytes()
    assert cli.main([str(pixels), str(tmp_path / "images"), "--output", str(tmp_path)]) == 2
    assert "masks/one.png, of another origin; name another folder" in capsys.readouterr().err
    assert (tmp_path / "masks" / "one.png").read_bytes() == before
    assert not (tmp_path / "overlays").exists()


def test_scales_reach_the_network(pixels, images, tmp_path):
    run(pixels, images / "one.png", "--scales", "0.5,1", "--output", tmp_path)
    expected = Interpreter(pixels).scores(images / "one.png", scales=[0.5, 1]).argmax(-1)
    assert not np.array_equal(expected, Interpreter(pixels).scores(images / "one.png").argmax(-1))
    with Image.open(tmp_path / "masks" / "one.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{labels}"], "expected MODEL.tflite and an image, a folder, --camera, --check or --"),
        (["nowhere.tflite", "x.png"], "nowhere.tflite: No such file or directory"),
        (["{images}/one.png", "x.png"], "one.png: expected a .tflite file"),
        (["{labels}", "nowhere.png"], "nowhere.png: No such file or directory"),
        (["{labels}", "{images}/more/two.png"], "two.png: expected an image"),
        (["{labels}", "{empty}"], "expected images (.jpg, .jpeg, "),
        (["{plain}", "{images}/one.png"], "expected a normalisation, symmetric or imagenet"),
        (["{labels}", "x.png", "--threads", "0"], "--threads: expected a number above 0"),
        (["{labels}", "x.png", "--scales", "1,a"], "--scales: expected at most 16 numbers in"),
        (["{labels}", "x.png", "--scales", "1e-300"], "16 numbers in [0.01, 8], such as 0.5,1"),
        (["{images}", "--benchmark"], "expected a .tflite file. Received: a folder"),
        (["{labels}", "{pipe}"], "pipe.png: expected an image. Received: a pipe"),
        (["{labels}", "--check", "{pipe}"], "Not a directory"),
        (["{labels}", "x.png", "--backend", "onnx"], "invalid choice: 'onnx'"),
        (["{labels}", "x.png", "--gpu"], "unrecognized arguments: --gpu"),
        ([], "expected MODEL.tflite; --help lists everything"),
        (["{bomb}", "x.png"], "larq_groupnet.json: expected a class name that can be printed"),
        (["{labels}", "--check", "{images}"], "verify.json: No such file or directory"),
    ],
)
def test_wrong_input_gets_one_line_and_status_2(
    arguments, message, labels, plain, images, tmp_path
):
    bomb = tmp_path / "bomb.tflite"
    bomb.write_bytes(rewritten(labels.read_bytes(), {"classes": [["cat"] * 10_000]}))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    values = {
        "pipe": tmp_path / "pipe.png",
        "labels": labels,
        "plain": plain,
        "images": images,
        "bomb": bomb,
    }
    values["empty"] = tmp_path / "empty"
    done = run(*(argument.format(**values) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("larq-groupnet-run: ") and message in done.stderr
    assert done.stderr.count("\n") == 1 and len(done.stderr) < 500
    assert sorted(tmp_path.iterdir()) == [bomb, tmp_path / "empty", tmp_path / "pipe.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{labels} {images} --runs 3", "--runs: expected --benchmark. Received: images"),
        ("{labels} {images} --frames 3", "--frames: expected --camera. Received: images"),
        ("{labels} --check x --frames 3", "--frames: expected --camera. Received: --check"),
        ("{labels} --benchmark --output x", "--output: expected images. Received: --benchmark"),
        ("{labels} --camera 0 --scales 1", "--scales: expected images. Received: --camera"),
        ("{labels} --benchmark --normalisation imagenet", "expected images or --camera"),
        ("{labels} {images} --check x", "--check: expected MODEL.tflite alone. Received: "),
        ("{labels} {images} --output x", "--output: expected a network that classifies pixels"),
        ("{labels} {images} --scales 0.5", "scales: expected a network that classifies pixels"),
        ("{labels} {images} --threads 65", "num_threads: expected a whole number from 1 to 64"),
        ("{labels} --benchmark --runs " + "9" * 20, "above 0 of at most 9 digits. Received: 9999"),
        ("{labels} --benchmark --runs " + "9" * 5000, "above 0 of at most 9 digits. Received: 99"),
        ("{labels} ''", "expected a path. Received: an empty one"),
        ("{two} {images}", "expected a file with one input that has a batch axis. Received: "),
    ],
)
def test_what_would_be_ignored_is_refused(arguments, message, labels, two, images, capsys):
    values = {"labels": labels, "two": two, "images": images}
    try:
        status = cli.main(shlex.split(arguments.format(**values)))
    except SystemExit as ended:
        status = ended.code
    found = capsys.readouterr()
    assert status == 2 and not found.out
    assert message in found.err and found.err.count("\n") == 1 and len(found.err) < 500


def test_flags_may_stand_between_files(labels, images, capsys):
    assert (
        cli.main(["--threads", "1", str(labels), "--normalisation", "imagenet", str(images)]) == 1
    )
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_output_may_be_the_folder_of_the_images(pixels, tmp_path, capsys):
    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    for _ in range(2):
        assert cli.main([str(pixels), str(tmp_path), "--output", str(tmp_path)]) == 0
    assert len(list(tmp_path.rglob("*.png"))) == 3


def test_output_overwrites_no_image_that_is_read(pixels, tmp_path, capsys):
    image = tmp_path / "masks" / "one.png"
    image.parent.mkdir()
    Image.fromarray(photo(32, 32)).save(image)
    before = image.read_bytes()
    assert cli.main([str(pixels), str(image), "--output", str(tmp_path)]) == 2
    assert f"where {image} would be overwritten" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_output_that_cannot_be_written_is_named(pixels, tmp_path, capsys):
    (tmp_path / "masks" / "one.png").mkdir(parents=True)
    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    assert cli.main([str(pixels), str(tmp_path / "one.png"), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(
        "masks/one.png: expected to write it. Received: Is a directory\n"
    )
    assert [file.name for file in (tmp_path / "masks").iterdir()] == ["one.png"]


@pytest.mark.parametrize("output", ["one.png", "one.png/below", "dangling/link"])
def test_output_that_cannot_be_written_is_found_before_an_image_is_read(
    pixels, output, tmp_path, capsys
):
    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    arguments = [str(pixels), str(tmp_path / "one.png"), "--output", str(tmp_path / output)]
    assert cli.main(arguments) == 2
    found = capsys.readouterr()
    assert not found.out and found.err.count("\n") == 1
    assert "masks: expected to write it. Received: " in found.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling", "one.png"]


def test_image_that_takes_too_much_memory_is_passed_over(pixels, tmp_path, capsys, monkeypatch):
    for name, width in (("a", 32), ("b", 40), ("c", 32)):
        Image.fromarray(photo(32, width)).save(tmp_path / f"{name}.png")

    def drawn(image, classes, names):
        if image.shape[1] == 40:
            raise MemoryError("Unable to allocate 9 GiB")
        return overlay(image, classes, names)

    monkeypatch.setattr(cli, "overlay", drawn)
    assert cli.main([str(pixels), str(tmp_path), "--output", str(tmp_path / "found")]) == 1
    found = capsys.readouterr()
    assert [line[: len(f"{tmp_path}/a.png")] for line in found.out.splitlines()[:-1]] == [
        f"{tmp_path}/a.png", f"{tmp_path}/c.png"
    ]  # fmt: skip
    assert found.err == (
        f"larq-groupnet-run: skipped: {tmp_path}/b.png: expected more memory, or a smaller "
        "image or number. Received: Unable to allocate 9 GiB\n"
    )
    assert len(list((tmp_path / "found").rglob("*.png"))) == 4


_SLOW = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Ignored under nohup,
signal.signal(signal.SIGINT, signal.default_int_handler)  # and this in the background.
import sys, time
from PIL import Image
from larq_groupnet_runtime import cli
save = Image.Image.save
def slow(image, path, **options):
    save(image, path, **options)
    if image.mode == "P": print("half", flush=True), time.sleep(60)
Image.Image.save = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_leaves_no_half_and_no_mask_without_its_overlay(pixels, tmp_path, number):
    Image.fromarray(photo(32, 32)).save(tmp_path / "one.png")
    command = [sys.executable, "-c", _SLOW, pixels, tmp_path, "--output", tmp_path / "found"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while "half" not in process.stdout.readline():
            pass
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert not [file for file in (tmp_path / "found").rglob("*") if file.is_file()]


@pytest.mark.parametrize("help_alone", [False, True])
def test_full_standard_output_is_named(labels, images, help_alone):
    words = ["--help"] if help_alone else [str(labels), str(images)]
    command = [sys.executable, "-m", "larq_groupnet_runtime.cli", *words]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 2
    assert done.stderr == "larq-groupnet-run: standard output: No space left on device\n"


def test_file_called_like_a_flag_is_told_how_to_be_named(labels, images, tmp_path):
    (tmp_path / "-dash.png").write_bytes((images / "one.png").read_bytes())
    done = run(labels, "-dash.png", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("; for the file -dash.png write ./-dash.png\n")
    assert run(labels, "./-dash.png", cwd=tmp_path).returncode == 0


def test_letters_without_a_font_are_named_once(pixels, tmp_path):
    """DejaVu Sans, which Matplotlib brings, has Cyrillic and Greek, and neither has a dog."""
    import matplotlib

    names = ["кошка", "λ", "犬", "é"]
    file = tmp_path / "model.tflite"
    file.write_bytes(rewritten(pixels.read_bytes(), {"classes": names}))
    for number in range(2):
        Image.fromarray(photo(32, 32, number)).save(tmp_path / f"{number}.png")
    arguments = [file, tmp_path, "--normalisation", "imagenet", "--output", tmp_path / "found"]
    data = f"{matplotlib.get_data_path()}/fonts"
    fonts = tmp_path / "share" / "fonts"
    fonts.parent.mkdir()
    fonts.symlink_to(data)
    done = run(*arguments, env={"XDG_DATA_DIRS": str(fonts.parent), "XDG_DATA_HOME": "/none"})
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "left out" not in line] == [
        "larq-groupnet-run: pictures: expected a font that has 犬. Received: none on this system, "
        "so that question marks are drawn. Install one, such as Debian's fonts-noto-cjk"
    ]


def test_name_with_a_comma_is_quoted():
    scores = np.array([0.5, 0.3, 0.2], np.float32)
    said = cli.describe(scores, ["cat, wild", "dog", "a b"])
    assert said == '"cat, wild" 50.0%, dog 30.0%, a b 20.0%'


def test_every_name_is_printed_in_one_line(labels, tmp_path):
    for name in ("new\nline.png", "\udcff\u4e2d.png", "red\x1b[31m.png"):
        Image.fromarray(photo(32, 32)).save(tmp_path / name)
    done = run(labels, tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    names = [line[len(f"{tmp_path}/") :].split(":")[0] for line in lines(done)]
    assert names == [r"new\nline.png", r"red\x1b[31m.png", r"\udcff\u4e2d.png"]


def test_closed_pipes_are_no_error(labels, images):
    command = [sys.executable, "-m", "larq_groupnet_runtime.cli", str(labels), str(images)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # As `| head` does.
        assert process.stderr.read() == b""
    assert process.returncode == 141
    no_stderr = ["sh", "-c", '"$@" 2>&-', "sh", *command[:-1], str(images / "one.png")]
    done = subprocess.run(no_stderr, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "one.png: " in done.stdout


def test_benchmark_tells_files_of_one_name_apart(plain, tmp_path, capsys):
    files = [tmp_path / folder / "model.tflite" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(plain.read_bytes())
    assert cli.main([*map(str, files), "--benchmark", "--runs", "1"]) == 0
    text = capsys.readouterr().out
    assert all(text.count(f"{file} ") == 2 for file in files)
    assert text.endswith("; 1 invocation of each file.\n")


def test_benchmark_compares_files(labels, pixels):
    done = run(labels, pixels, labels, "--benchmark", "--runs", 5, "--threads", 1)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "labels.tflite" in text and "pixels.tflite" in text
    table = text.split("\n\n")[0].splitlines()
    ratios = [line.split()[7] for line in table if line.startswith("labels.tflite ")]
    assert ratios[0] == "1.000" and 0.2 < float(ratios[1]) < 5
    assert "LceBconv2d" in text and "others, in ai-edge-litert" in text


def test_version_names_the_kernels():
    assert re.fullmatch(r"[0-9.]+ \(.*generic\)", lines(run("--version"))[0])


def test_missing_library_is_told_in_one_line(labels):
    done = run(labels, "--benchmark", env={"LARQ_GROUPNET_RUNTIME_LIBRARY": "/nowhere.so"})
    assert done.returncode == 2
    assert "/nowhere.so" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def device(labels, tmp_path):
    """What `verify` writes, made from the outputs of LCE's interpreter."""
    import hashlib

    import larq_compute_engine as lce

    x = np.random.default_rng(0).standard_normal((6, 24, 32, 3)).astype("<f4")
    content = labels.read_bytes()
    expected = lce.testing.Interpreter(content).predict(x).astype("<f4")
    (tmp_path / "input.bin").write_bytes(x.tobytes())
    (tmp_path / "expected_output.bin").write_bytes(expected.tobytes())
    facts = {"tflite_sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "verify.json").write_text(json.dumps(facts))
    return tmp_path


def test_check_repeats_what_the_desktop_computed(labels, device):
    done = run(labels, "--check", device)
    assert done.returncode == 0, done.stderr
    assert lines(done)[0].startswith("equal: 6 of 6 positions of 6 samples have the class of the ")


def test_check_says_when_outputs_differ(labels, device):
    expected = np.fromfile(device / "expected_output.bin", "<f4").reshape(6, 4)
    expected[0] = np.roll(expected[0], 1)
    expected.tofile(device / "expected_output.bin")
    done = run(labels, "--check", device)
    assert done.returncode == 1
    assert lines(done)[0].startswith("DIFFERENT: 5 of 6 positions")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("verify.json", b"{", "verify.json: expected JSON"),
        ("verify.json", b"[]", "verify.json: expected an object"),
        ("verify.json", b'{"tflite_sha256": "00"}', "expected the folder that verify wrote for"),
        ("input.bin", b"1234", "input.bin: expected float32 samples of shape (24, 32, 3)"),
        ("expected_output.bin", bytes(16), "expected as many outputs as inputs"),
    ],
)
def test_check_refuses_another_folder(labels, device, name, content, message):
    (device / name).write_bytes(content)
    done = run(labels, "--check", device)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


# A module cv2 whose camera 0 gives three frames. `imshow` records them, if this cv2 has windows.
_STAND_IN = """
import os
import numpy as np
CAP_PROP_BUFFERSIZE, FONT_HERSHEY_SIMPLEX = 38, 0
class error(Exception): pass
class VideoCapture:
    def __init__(self, device):
        self.left = 3 if device == 0 else 0
    def isOpened(self): return self.left > 0
    def set(self, what, value): pass
    def read(self):
        self.left -= 1
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, :32, 2] = 255  # Red, on the left.
        return (self.left >= 0), frame
    def release(self): open(os.environ["RECORD"] + ".released", "w")
def putText(picture, *arguments): pass
def waitKey(delay): return ord("q") if os.environ.get("PRESS") else -1
def imshow(title, picture):
    if os.environ.get("HEADLESS"): raise error("no window")
    np.save(os.environ["RECORD"], picture)
"""


@pytest.fixture
def camera(tmp_path):
    (tmp_path / "cv2.py").write_text(_STAND_IN)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "RECORD": str(tmp_path / "shown.npy"), "DISPLAY": ":0"}


def test_camera_shows_frames_and_prints_lines(labels, camera, tmp_path):
    done = run(labels, "--camera", env=camera)
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in lines(done)] == ["frame 1", "frame 2", "frame 3"]
    shown = np.load(tmp_path / "shown.npy")
    assert shown[0, 0].tolist() == [0, 0, 255] and shown[0, -1].tolist() == [0, 0, 0]
    frame = np.ascontiguousarray(shown[..., ::-1])
    expected = cli.describe(Interpreter(labels).scores(frame), CLASSES)
    assert lines(done)[0].endswith(expected)
    assert (tmp_path / "shown.npy.released").exists()


def test_camera_shows_classes_of_pixels(pixels, camera, tmp_path):
    done = run(pixels, "--camera", "0", env=camera)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "shown.npy").shape[1] == 512  # With a legend, eight times as wide.


@pytest.mark.parametrize("without", ["HEADLESS", "DISPLAY"])
def test_camera_without_a_window_prints_lines(labels, camera, tmp_path, without):
    environment = {**camera, **({"HEADLESS": "1"} if without == "HEADLESS" else {"DISPLAY": ""})}
    done = run(labels, "--camera", env={**environment, "WAYLAND_DISPLAY": ""})
    assert done.returncode == 0 and len(lines(done)) == 3
    assert not (tmp_path / "shown.npy").exists()


def test_camera_ends_after_frames_or_q(labels, camera):
    assert len(lines(run(labels, "--camera", "--frames", "2", env=camera))) == 2
    assert len(lines(run(labels, "--camera", env={**camera, "PRESS": "1"}))) == 1


def test_camera_without_opencv_says_what_to_install(labels, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('no cv2')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(labels, "--camera", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "run `pip install opencv-python-headless`" in done.stderr


def test_camera_reads_a_video_with_opencv_itself(labels, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for number in range(4):
        writer.write(photo(48, 64, number))
    writer.release()
    for device in (tmp_path / "none.avi", "99", "9" * 20):
        none = run(labels, "--camera", device)
        assert none.returncode == 2 and none.stderr.count("\n") == 1, none.stderr
        assert "expected a camera or a video with frames" in none.stderr
    done = run(labels, "--camera", path, env={"DISPLAY": ""})
    assert done.returncode == 0, done.stderr
    assert len(lines(done)) == 4
