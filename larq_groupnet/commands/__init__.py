"""What the commands of `cli` do: find the recipe or the network, make the call, print."""

from larq_groupnet.commands.cost_summary import summary
from larq_groupnet.commands.files import audit, check, convert, evaluate, predict, verify, weights
from larq_groupnet.commands.train_modes import MODES, judge, train

__all__ = [
    "MODES", "audit", "check", "convert", "evaluate", "judge", "predict", "summary", "train",
    "verify", "weights",
]  # fmt: skip
