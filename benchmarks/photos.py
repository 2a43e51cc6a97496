"""Trains on synthetic photos with defaults only, and checks the results against targets.

    python benchmarks/photos.py --folder build/photos

makes the photos (see made_photos.py), trains a classifier, its real-valued twin and a segmentation
network, one after the other, and prints a table. The test split has only a tenth of the photos (24
or 6), so each run is also judged on a second set of the same size, made with another seed. Exits
with status 1 if a target on the second set is missed: accuracy 0.85 (twin: 0.9), IoU of the part
0.6, each in 40 minutes of CPU time, which is 20 minutes on two cores. With `--any_colour` the
photos are harder, and only the time counts.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import app, flags
from made_photos import write_photos
from terminaltables import AsciiTable

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", "build/photos", "Folder for photos and runs; existing ones are kept.")
flags.DEFINE_multi_enum("only", [], ("binary", "real", "masks"), "Train only this; repeatable.")

RUNS = {"binary": ("parts", []), "real": ("parts", ["--model=resnet18"]), "masks": ("masks", [])}
"""Name of a run -> its photos, and extra flags."""

ACCURACY, TWIN, IOU, CPU_MINUTES = 0.85, 0.9, 0.6, 40


def train(folder: Path, name: str) -> float | None:
    """Trains a run. Returns its minutes of CPU time, or `None` if the run was already done."""
    photos, more = RUNS[name]
    run = folder / "runs" / name
    if (run / "results.json").is_file():
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["train", f"--dataset=folder:{folder / photos}", f"--output_dir={run}", *more]
    subprocess.run([sys.executable, "-m", "larq_groupnet", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def judge(folder: Path, name: str) -> dict[str, Any]:
    """The metrics of a run on the second set of photos."""
    run, output = folder / "runs" / name, folder / "judged" / name
    photos = f"folder:{folder / 'others' / RUNS[name][0]}"
    words = ["evaluate", str(run), photos, "--split=all", f"--output={output}"]
    subprocess.run([sys.executable, "-m", "larq_groupnet", *words], check=True)
    return json.loads((output / "evaluation.json").read_text())["keras"]


def main(_: list[str]) -> None:
    """Makes, trains, judges, checks."""
    folder = Path(FLAGS.folder).resolve()
    for seed, place in enumerate((folder, folder / "others")):
        if not (place / "masks" / "classes.txt").is_file():
            write_photos(place, seed, any_colour=FLAGS.any_colour)
    wanted = FLAGS.only or list(RUNS)
    minutes = {name: train(folder, name) for name in wanted}
    rows, right = [["run", "metric", "Keras", "converted", "others", "CPU minutes"]], True
    found = {}
    for name in wanted:
        results = json.loads((folder / "runs" / name / "results.json").read_text())
        metric = "IoU of part" if name == "masks" else "accuracy"
        sides = [results["keras"], results["lce"], judge(folder, name)]
        values = [side["iou"]["part"] if name == "masks" else side["accuracy"] for side in sides]
        spent = minutes[name]
        rows.append([name, metric, *(f"{v:.3f}" for v in values), f"{spent:.1f}" if spent else "-"])
        found[name] = values[-1]
        right &= (spent or 0) <= CPU_MINUTES
    print(AsciiTable(rows).table)
    asked = f"at most {CPU_MINUTES} minutes"
    if not FLAGS.any_colour:
        right &= found.get("masks", 1) >= IOU and found.get("binary", 1) >= ACCURACY
        right &= found.get("real", 1) >= TWIN
        asked += f", IoU {IOU}, accuracy {ACCURACY} and {TWIN}"
    print(f"{'Reached' if right else 'Missed'}: {asked}.")
    sys.exit(not right)


if __name__ == "__main__":
    app.run(main)
