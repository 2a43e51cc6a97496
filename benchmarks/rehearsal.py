"""Runs all steps of docs/imagenet.md on a small synthetic set, from records to predictions.

    python benchmarks/rehearsal.py                          # 20,000 images, at most 30 minutes
    python benchmarks/rehearsal.py --images 1000 --batch 4  # the same steps, shorter

TFDS' own builder of imagenet2012 writes a synthetic set: 1,000 classes, JPEGs of ImageNet's size,
`--distinct` crops of scikit-learn's two photographs with meaningless labels. The ImageNet recipe
trains in two processes, with fewer epochs, fewer steps and a smaller batch. One is killed and both
resume; one gets SIGTERM, and both save and resume. The run is judged, published and used to
predict. `rehearsal.log` records each step and its time.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_FOLDER = flags.DEFINE_string("folder", "runs/rehearsal", "Folder for everything; new or empty.")
_IMAGES = flags.DEFINE_integer("images", 20_000, "Training images.", lower_bound=1000)
_VALIDATION = flags.DEFINE_integer("validation", 200, "Validation images.", lower_bound=8)
_DISTINCT = flags.DEFINE_integer("distinct", 400, "Distinct JPEGs.", lower_bound=8)
_STEPS = flags.DEFINE_integer("steps", 12, "Steps of each of the two phases.", lower_bound=12)
_BATCH = flags.DEFINE_integer("batch", 16, "Images per step.", lower_bound=2)
_BASES = flags.DEFINE_integer("bases", 5, "K, 5 in the recipe.", lower_bound=1)
_SAMPLES = flags.DEFINE_integer("samples", 100, "Images to judge on.", lower_bound=1)

MODEL = "groupnet_resnet18"


class Log:
    """Logs to a file and the screen, with the seconds since the start."""

    def __init__(self, path: Path):
        self.path, self.start = path, time.monotonic()

    def __call__(self, text: str) -> None:
        """Writes a line."""
        line = f"{time.monotonic() - self.start:7.1f} s  {text}"
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(f"{line}\n")


def main(argv: list[str]) -> None:
    """Runs all steps and stops at the first failed expectation."""
    del argv
    folder = Path(_FOLDER.value).resolve()
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"folder: expected a new or empty folder. Received: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "rehearsal.log")
    log(f"{_IMAGES.value} images, batch {_BATCH.value}, K={_BASES.value}, {os.cpu_count()} CPUs")
    data, run = folder / "data", folder / "run"
    photos = write_set(data, folder / "photos", log)
    train = [
        *("train", f"--model={MODEL}", "--dataset=imagenet2012", f"--data_dir={data}"),
        *(f"--output_dir={run}", "--epochs=1,1", f"--batch_size={_BATCH.value}", "--judge=none"),
        *(f"--set=steps_per_epoch={_STEPS.value}", f"--set=num_bases={_BASES.value}"),
        "--snapshot_steps=2",
    ]
    killed(train, folder, log)
    stopped(train, folder, log)
    finished(train, folder, log)
    judged(run, data, log)
    published(run, folder, photos, log)
    log("done")


def write_set(data: Path, photos: Path, log: Log) -> Path:
    """Writes the set in TFDS' layout of imagenet2012, and a few of its photographs as files."""
    import tensorflow_datasets as tfds

    jpegs = make_jpegs(_DISTINCT.value)
    builder: Any = tfds.builder("imagenet2012", data_dir=str(data))
    names = builder.info.features["label"].names

    def examples(split: str, count: int, labelled: bool = True) -> Any:
        for number in range(count):
            name = f"{split}_{number:08d}.JPEG"
            label = names[number % len(names)] if labelled else -1
            image = io.BytesIO(jpegs[number % len(jpegs)])
            yield name, {"file_name": name, "image": image, "label": label}

    builder._split_generators = lambda *_: {
        "train": examples("train", _IMAGES.value),
        "validation": examples("val", _VALIDATION.value),
        "test": examples("test", 8, labelled=False),
    }
    builder.download_and_prepare()
    files = sorted(Path(builder.data_path).glob("*.tfrecord*"))
    size = sum(file.stat().st_size for file in files) / 1e6
    log(f"set: {builder.info.full_name}, {len(names)} classes, {len(files)} files, {size:.0f} MB")
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(jpegs[number])
    return photos


def make_jpegs(count: int) -> list[bytes]:
    """JPEGs of about 500 x 375 pixels."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.RandomState(0)
    found = []
    for number in range(count):
        photograph = photographs[number % 2]
        side = rng.randint(200, photograph.height)
        left, top = rng.randint(photograph.width - side), rng.randint(photograph.height - side + 1)
        size = (int(rng.randint(400, 600)), int(rng.randint(300, 450)))
        image = photograph.crop((left, top, left + side, top + side)).resize(size)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92)
        found.append(file.getvalue())
    return found


def start(words: list[str], folder: Path) -> list[subprocess.Popen]:
    """Starts two workers on this machine; their output goes into files."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        with (folder / f"worker{index}.txt").open("w") as screen:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "larq_groupnet", *words],
                    cwd=ROOT,
                    env={**os.environ, "TF_CONFIG": config},
                    stdout=screen,
                    stderr=subprocess.STDOUT,
                )  # fmt: skip
            )
    return processes


def screen(folder: Path, index: int = 0) -> str:
    """The output of a worker."""
    return (folder / f"worker{index}.txt").read_text(errors="replace")


def last_words(folder: Path, index: int = 0) -> str:
    """The last line of a worker's output."""
    last = screen(folder, index).strip().splitlines()[-1]
    return last[max(last.find("larq-groupnet:"), 0) :]


def expect(right: bool, what: str, folder: Path) -> None:
    """Ends the rehearsal unless `right`."""
    if not right:
        ends = "\n".join(screen(folder, index)[-2000:] for index in range(2))
        raise SystemExit(f"Expected: {what}. The workers said:\n{ends}")


def wait_for_snapshot(processes: list[subprocess.Popen], folder: Path, first: int) -> None:
    """Waits for snapshot `first` or later; numbers are a million per epoch plus its steps."""
    newest = -1
    while newest < first:
        expect(all(each.poll() is None for each in processes), "two running workers", folder)
        time.sleep(0.2)
        state = folder / "run/snapshots/checkpoint"
        text = state.read_text() if state.exists() else ""
        newest = max(map(int, re.findall(r"snapshot-(\d+)", text)), default=-1)


def killed(train: list[str], folder: Path, log: Log) -> None:
    """Kills a worker in the first phase."""
    processes = start(train, folder)
    wait_for_snapshot(processes, folder, 2)
    processes[1].send_signal(signal.SIGKILL)
    log("worker 1 was killed after a snapshot within the first epoch")
    processes[1].wait()
    status = processes[0].wait(timeout=300)
    last = last_words(folder)
    expect(status == 1 and "cannot reach worker 1 (" in last, "worker 1 named", folder)
    log(f"worker 0 ended: {last}")


def stopped(train: list[str], folder: Path, log: Log) -> None:
    """Resumes, and stops one worker in the second phase."""
    processes = start(train, folder)
    wait_for_snapshot(processes, folder, 10**6 + 2)
    found = re.search(r"Resuming in epoch 1, step \d+", screen(folder))
    expect(found is not None, "a run that resumes within the first epoch", folder)
    log(f"both: {found[0] if found else ''}")
    processes[1].send_signal(signal.SIGTERM)
    statuses = [each.wait(timeout=600) for each in processes]
    expect(statuses == [143, 143], "both stopped by SIGTERM", folder)
    log(f"SIGTERM to worker 1, both stopped: {last_words(folder)}")


def finished(train: list[str], folder: Path, log: Log) -> None:
    """Resumes to the end."""
    processes = start(train, folder)
    statuses = [each.wait(timeout=1800) for each in processes]
    found = re.search(r"Resuming in epoch 2, step \d+", screen(folder))
    expect(statuses == [0, 0] and found is not None, "a run that ends", folder)
    log(f"both: {found[0] if found else ''}, and finished")
    for line in (folder / "run/history.csv").read_text().splitlines():
        log(f"history: {line}")


def call(log: Log, *words: str) -> str:
    """Runs a command, and returns what it prints."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "larq_groupnet", *words], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {done.stderr[-2000:]}")
    log(f"larq-groupnet {words[0]}: {time.monotonic() - begun:.0f} s")
    return done.stdout


def judged(run: Path, data: Path, log: Log) -> None:
    """Keras and the converted file on a sample of the validation images; then sign by sign.

    After so few steps a thousand classes are nearly equal, and rounding decides between them.
    """
    log("\n" + call(log, "judge", str(run), f"--data_dir={data}", f"--samples={_SAMPLES.value}"))
    log(call(log, "verify", str(run), str(run / "model.tflite"), f"--data_dir={data}").strip())


def published(run: Path, folder: Path, photos: Path, log: Log) -> None:
    """Publishes a release file and predicts photographs with it."""
    weights = folder / "weights"
    log(call(log, "weights", "publish", str(run), "rehearsal", f"--output={weights}").strip())
    (release,) = weights.glob("*.safetensors")
    log(call(log, "predict", str(release), str(photos), f"--output={folder / 'predictions'}"))
    for file in sorted((folder / "predictions").iterdir()):
        log(f"predictions: {file.name}, {file.stat().st_size} bytes")


if __name__ == "__main__":
    app.run(main)
