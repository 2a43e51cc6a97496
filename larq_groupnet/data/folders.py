"""A folder of images as a TFDS builder that reads the files where they lie."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock
from tqdm import tqdm

from larq_groupnet.data import VOID
from larq_groupnet.data.features import NO_CLASS, ImageFile, MaskFile
from larq_groupnet.data.layouts import (
    Examples,
    FolderError,
    Layout,
    check_splits,
    find_layout,
    name_hash,
)
from larq_groupnet.data.masks import read_labels
from larq_groupnet.files import replacing

_NAMED = 5
"""How many bad files an error names."""


class FolderDataset(tfds.core.DatasetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Images of a folder, with `label` or with `mask`; see `open_folder`.

    Under `tfds.decode.SkipDecoding` images and masks are paths, which `decode_example` of their
    features reads.

    Attributes:
        skipped: File that was left out -> why.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, root: Path, layout: Layout, skipped: dict[str, str]):
        self._layout, self.skipped = layout, skipped
        self._target = "label" if layout.lookup is None else "mask"
        super().__init__(data_dir=str(root))
        self._data_dir = str(root)  # TFDS would add a name and a version.
        splits = [
            tfds.core.SplitInfo(name=name, shard_lengths=[len(examples)], num_bytes=0)
            for name, examples in layout.splits.items()
        ]
        self.info.set_splits(tfds.core.splits.SplitDict(splits))

    def _info(self) -> tfds.core.DatasetInfo:
        names, lookup = self._layout.names, self._layout.lookup
        target = (
            tfds.features.ClassLabel(names=names) if lookup is None else MaskFile(names, lookup)
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images that are read from their own files.",
            features=tfds.features.FeaturesDict({"image": ImageFile(), self._target: target}),
            supervised_keys=("image", self._target),
        )

    def check_files(self) -> None:
        """Decodes every file again.

        Raises:
            FolderError: If one has vanished or gone bad since the folder was opened; names it.
        """
        root = Path(self._data_dir)
        bad = _inspect_all(root, self._layout)["bad"]
        if bad:
            _tell(root, bad, "error")

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Nothing to do; TFDS would delete the folder if it were told to begin anew."""

    def _download_and_prepare(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _as_dataset(
        self,
        split: str,
        decoders: Any = None,
        read_config: tfds.ReadConfig | None = None,
        shuffle_files: bool = False,
    ) -> tf.data.Dataset:
        config = read_config or tfds.ReadConfig()
        parts = tfds.core.splits.AbstractSplit.from_spec(split).to_absolute(self.info.splits)
        examples = [
            example
            for part in parts
            for example in self._layout.splits[part.splitname][part.from_ : part.to]
        ]
        images, targets = zip(*examples, strict=True) if examples else ((), ())
        kind = np.int64 if self._target == "label" else str
        columns = {
            "image": np.array(images, str),
            self._target: np.array(targets, kind),
        }
        data = tf.data.Dataset.from_tensor_slices(columns)
        if config.input_context is not None:
            context = config.input_context
            data = data.shard(context.num_input_pipelines, context.input_pipeline_id)
        if shuffle_files:
            data = data.shuffle(
                max(len(examples), 1),
                seed=config.shuffle_seed,
                reshuffle_each_iteration=config.shuffle_reshuffle_each_iteration,
            )
        if decoders:  # What is left is not worth a thread.
            return data.map(
                lambda example: self.info.features.decode_example(example, decoders=decoders)
            )
        return data.map(self.info.features.decode_example, tf.data.AUTOTUNE, deterministic=True)


def open_folder(
    path: str | Path, data_dir: str | Path, on_bad_image: str = "error"
) -> FolderDataset:
    """The dataset in a folder, for classification or segmentation; see `find_layout`.

    Nothing is copied. Every file is decoded once, which takes about as long as an epoch of reading,
    so that what is wrong is known before training and every later pass has the same images. What
    was found is kept under `data_dir`, and looked up as long as no file changes.

    Images come in an order that mixes classes and is the same on every machine.

    Args:
        path: The folder.
        data_dir: Where datasets lie.
        on_bad_image: `"error"`, or `"skip"` to leave out, with a warning, the images that cannot
            be decoded and those whose mask cannot, has another size or holds a label that is no
            class.

    Raises:
        FolderError: If the folder holds no dataset, or has bad images; names them.
    """
    if on_bad_image not in ("error", "skip"):
        raise FolderError(
            f"on_bad_image is 'error' or 'skip'. Received: on_bad_image={on_bad_image!r}"
        )
    root = Path(path).expanduser().resolve()
    layout = find_layout(root)
    bad, highest = _findings(root, layout, Path(data_dir))
    if bad:
        _tell(root, bad, on_bad_image)
    splits = {
        # Cityscapes' test masks, for one, are all void.
        split: sorted(_good(root, examples, bad), key=lambda x: name_hash(_relative(root, x[0])))
        for split, examples in layout.splits.items()
        if layout.lookup is None or highest[split] > NO_CLASS
    }
    names = layout.names or [f"class_{label}" for label in range(max(highest.values()) + 1)]
    if len(names) < 2:
        raise FolderError(
            f"Expected masks of two or more classes in {root}; {VOID} stands for void, never for "
            f"a class. Received: labels from 0 to {max(highest.values())}"
        )
    layout = Layout(splits, names, layout.lookup)
    check_splits(root, layout)
    return FolderDataset(root, layout, bad)


def _tell(root: Path, bad: dict[str, str], on_bad_image: str) -> None:
    shown = "; ".join(f"{file}: {reason}" for file, reason in list(bad.items())[:_NAMED])
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    said = f"{len(bad)} bad files in {root}: {shown}{more}"
    if on_bad_image == "error":
        raise FolderError(f"{said}. Mend or remove them, or leave them out: on_bad_image='skip'.")
    warnings.warn(f"left out {said}.", stacklevel=3)


def _good(root: Path, examples: Examples, bad: dict[str, str]) -> Iterator[tuple[Path, int | Path]]:
    for example in examples:
        if not any(isinstance(x, Path) and _relative(root, x) in bad for x in example):
            yield example


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _findings(root: Path, layout: Layout, data_dir: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Bad files with reasons, and the highest class in the masks of each split."""
    kept = data_dir / "folders" / f"{_digest(root, layout)}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.parent / ".lock"):
        if not kept.is_file():
            found = _inspect_all(root, layout)
            with replacing(kept) as file:
                file.write_text(json.dumps(found))
        found = json.loads(kept.read_text())
    return found["bad"], found["highest"]


def _digest(root: Path, layout: Layout) -> str:
    """Of the names, sizes and times of all files, and of what their labels mean."""
    digest = hashlib.sha256(np.asarray(layout.lookup).tobytes())
    for examples in layout.splits.values():
        for path in (x for example in examples for x in example if isinstance(x, Path)):
            state = path.stat()
            digest.update(
                f"{_relative(root, path)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode()
            )
    return digest.hexdigest()[:32]


def _inspect_all(root: Path, layout: Layout) -> dict[str, Any]:
    bad: dict[str, str] = {}
    highest = dict.fromkeys(layout.splits, NO_CLASS)
    jobs = [(split, example) for split, examples in layout.splits.items() for example in examples]

    def inspect(job: tuple[str, tuple[Path, int | Path]]) -> tuple[str, int, Path, str]:
        split, (image, target) = job
        return split, *_inspect(image, target, layout.lookup)

    with ThreadPool(os.cpu_count()) as pool:
        results = pool.imap(inspect, jobs, chunksize=8)
        for split, label, path, reason in tqdm(results, f"Checking {root.name}", len(jobs)):
            highest[split] = max(highest[split], label)
            if reason:
                bad[_relative(root, path)] = reason
    return {"bad": bad, "highest": highest}


def _inspect(image: Path, target: int | Path, lookup: np.ndarray | None) -> tuple[int, Path, str]:
    """Highest class in the mask; which of the files is bad, and why, or no reason."""
    file = image
    try:
        shape = ImageFile().decode_example(tf.constant(str(image))).shape[:2]
        if lookup is None or isinstance(target, int):
            return NO_CLASS, image, ""
        file = target
        labels = read_labels(str(target))
    except Exception as error:  # Decoders raise whatever they like.
        return NO_CLASS, file, _reason(error)
    stored = np.unique(labels)
    classes = lookup[stored]
    if labels.shape[:2] != shape:
        return NO_CLASS, file, f"a mask of {labels.shape[:2]} pixels for an image of {tuple(shape)}"
    if (classes == NO_CLASS).any():
        return NO_CLASS, file, f"label {stored[classes == NO_CLASS].max()} is no class"
    return int(classes[classes != VOID].max(initial=NO_CLASS)), file, ""


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | tf.errors.NotFoundError):
        return "it is gone"
    return str(error) if type(error) is ValueError else "it cannot be decoded"
