"""The studies of `benchmarks/evidence.py`: a budget, rows and orderings per dataset."""

from collections.abc import Mapping
from typing import NamedTuple


class Experiment(NamedTuple):
    """A row: changes to the study's recipe."""

    options: tuple[str, ...] = ()
    """Values for `--set` of train.py."""
    model: str = ""
    """Replaces the study's model."""
    int8: bool = False
    """True to judge the int8 file."""


class Ordering(NamedTuple):
    """A claim of the paper: the first row is better than the second."""

    first: str
    second: str
    claim: str


class Study(NamedTuple):
    """Rows with the same dataset and budget."""

    model: str
    budget: Mapping[str, str]
    """Option -> value for `--set`, for every row."""
    seeds: int
    metrics: tuple[str, ...]
    """Columns of the results; the first is compared."""
    metric_name: str
    experiments: Mapping[str, Experiment]
    orderings: tuple[Ordering, ...]
    curves: Mapping[str, tuple[str, ...]]
    """Name in the picture -> rows joined by a line."""


MORE_BASES = "more bases are better"
REAL = "real values are better than binary ones"
BPAC = "a rate per base (BPAC) is better than equal ones"
GATES = "learned gates are better than groups of one block"
GROUPS = "group-wise is better than layer-wise"
FCN = "FCN-16s is better than FCN-32s"

SEGMENTATION = (
    "miou",
    "pixel_accuracy",
    "mean_accuracy",
    "frequency_weighted_iou",
    "mean_boundary_f_score",
)

# Equal rates are the middle of each stage's interval, so both have the same mean reach.
DIGIT_SCENES = Study(
    model="groupnet_dsp",
    budget={
        "epochs": "2,10",
        "steps_per_epoch": "75",
        "batch_size": "8",
        "stage_blocks": "(1, 1, 1, 1)",
    },
    seeds=5,
    metrics=SEGMENTATION,
    metric_name="mIoU",
    experiments={
        "K=3": Experiment(),
        "K=1": Experiment(("num_bases=1",)),
        "K=5": Experiment(("num_bases=5",)),
        "K=3, real-valued twin": Experiment(("binary=false",)),
        "K=3, equal rates": Experiment(("atrous_rates=(1, 1, 2, 3)",)),
        "K=3, group-wise": Experiment(("decomposition=group",)),
        "K=3, layer-wise": Experiment(("decomposition=layer",)),
        "K=3, FCN-16s": Experiment(("head=fcn16s",)),
    },
    orderings=(
        Ordering("K=3", "K=1", MORE_BASES),
        Ordering("K=5", "K=3", MORE_BASES),
        Ordering("K=3, real-valued twin", "K=3", REAL),
        Ordering("K=3", "K=3, equal rates", BPAC),
        Ordering("K=3", "K=3, group-wise", GATES),
        Ordering("K=3, group-wise", "K=3, layer-wise", GROUPS),
        Ordering("K=3, FCN-16s", "K=3", FCN),
    ),
    curves={
        "Group-Net, width 0.25": ("K=1", "K=3", "K=5"),
        "K=3, real-valued twin": ("K=3, real-valued twin",),
    },
)


def _decayed(num_bases: int, *options: str) -> Experiment:
    """Group-Net with the width of the other networks and, like them, one phase: `decay`."""
    return Experiment((f"num_bases={num_bases}", "width=0.25", "binary.epochs=0", *options))


CIFAR10 = Study(
    model="groupnet_resnet18",
    budget={
        "epochs": "6",
        "steps_per_epoch": "75",
        "batch_size": "128",
        "stage_blocks": "(1, 1, 1, 1)",
        "warmup_epochs": "1",
        "stem_stride": "2",  # A third of the time that the recipes' stride of 1 takes.
        "output_stride": "16",
    },
    seeds=3,
    metrics=("accuracy",),
    metric_name="accuracy",
    experiments={
        "K=3": _decayed(3),
        "K=1": _decayed(1),
        "K=5": _decayed(5),
        "Bi-Real": Experiment(model="birealnet18"),
        "real, width 0.25": Experiment(model="resnet18"),
        "K=3, real-valued twin": _decayed(3, "binary=false"),
        "K=3, group-wise": _decayed(3, "decomposition=group"),
        "K=3, layer-wise": _decayed(3, "decomposition=layer"),
        "K=3, mean": _decayed(3, "aggregation=mean"),
        "K=2": _decayed(2),
        "real, width 0.0625": Experiment(("width=0.0625",), "resnet18"),
        "real, width 0.125": Experiment(("width=0.125",), "resnet18"),
        "real, width 0.5": Experiment(("width=0.5",), "resnet18"),
        "int8, width 0.25": Experiment(model="resnet18", int8=True),
    },
    orderings=(
        Ordering("K=2", "K=1", MORE_BASES),
        Ordering("K=3", "K=2", MORE_BASES),
        Ordering("K=5", "K=3", MORE_BASES),
        Ordering("K=3, real-valued twin", "K=3", REAL),
        Ordering("K=3", "K=3, group-wise", GATES),
        Ordering("K=3, group-wise", "K=3, layer-wise", GROUPS),
        Ordering("K=3", "K=3, mean", "scales are better than the mean"),
    ),
    curves={
        "Group-Net, width 0.25": ("K=1", "K=2", "K=3", "K=5"),
        "real-valued ResNet": (
            "real, width 0.0625",
            "real, width 0.125",
            "real, width 0.25",
            "real, width 0.5",
        ),
        "Bi-Real, width 0.25": ("Bi-Real",),
        "int8 ResNet, width 0.25": ("int8, width 0.25",),
    },
)

CAMVID = Study(
    model="groupnet_dsp",
    budget={
        "epochs": "8",
        "steps_per_epoch": "50",
        "batch_size": "8",
        "stage_blocks": "(1, 1, 1, 1)",
        "input_shape": "(120, 160, 3)",
        "base_size": "240",
        "warmup_epochs": "0",
    },
    seeds=2,
    metrics=SEGMENTATION,
    metric_name="mIoU",
    experiments={
        "K=3": _decayed(3, "head=fcn32s"),
        "K=1": _decayed(1, "head=fcn32s"),
        "K=5": _decayed(5, "head=fcn32s"),
        "K=3, equal rates": _decayed(3, "head=fcn32s", "atrous_rates=(1, 1, 2, 4)"),
        "K=3, no rates": _decayed(3, "head=fcn32s", "atrous_rates=(1, 1, 1, 1)"),
        "K=3, FCN-16s": _decayed(3),
    },
    orderings=(
        Ordering("K=3", "K=1", MORE_BASES),
        Ordering("K=5", "K=3", MORE_BASES),
        Ordering("K=3", "K=3, equal rates", BPAC),
        Ordering("K=3", "K=3, no rates", "a rate per base (BPAC) is better than no dilation"),
        Ordering("K=3, FCN-16s", "K=3", FCN),
    ),
    curves={"Group-Net, width 0.25": ("K=1", "K=3", "K=5")},
)

STUDIES = {"digit_scenes": DIGIT_SCENES, "cifar10": CIFAR10, "camvid": CAMVID}
