"""Where `GroupNetConfig` was before: `larq_groupnet.network.config` has it."""

# TODO(lead): drop, when nothing imports it.

from larq_groupnet.errors import ConfigError
from larq_groupnet.network.atrous import BPAC_RATES, EQUAL_RATES
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.kinds import HEADS, LAYOUTS
from larq_groupnet.network.layouts import BOTTLENECK_EXPANSION, basic
from larq_groupnet.network.options import check_choice
from larq_groupnet.network.precision import QUANTIZERS

DEPTHS = {
    name: ("basic" if found.convolutions is basic else "bottleneck", found.blocks)
    for name, found in LAYOUTS.items()
}
STAGE_CHANNELS = LAYOUTS["resnet18"].channels
NUM_STAGES = len(STAGE_CHANNELS)
DENSE_HEADS = tuple(name for name, found in HEADS.items() if found.task == "segmentation")
NOT_BINARY_QUANTIZERS = tuple(name for name, known in QUANTIZERS.items() if not known.engine)

__all__ = [
    "BOTTLENECK_EXPANSION",
    "BPAC_RATES",
    "DENSE_HEADS",
    "DEPTHS",
    "EQUAL_RATES",
    "NOT_BINARY_QUANTIZERS",
    "NUM_STAGES",
    "STAGE_CHANNELS",
    "ConfigError",
    "GroupNetConfig",
    "check_choice",
]
