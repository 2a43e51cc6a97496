"""The commands of `cli`: find the recipe or the network, make the call, print.

Each takes the flags and the positional arguments; its docstring is the help of the command.
"""

from larq_groupnet.commands.cost_summary import summary
from larq_groupnet.commands.files import (
    audit,
    benchmark,
    check,
    convert,
    evaluate,
    import_checkpoint,
    predict,
    verify,
    weights,
)
from larq_groupnet.commands.train_modes import MODES, judge, train

__all__ = [
    "MODES", "audit", "benchmark", "check", "convert", "evaluate", "import_checkpoint", "judge",
    "predict", "summary", "train", "verify", "weights",
]  # fmt: skip
