"""The paper's networks: blocks, wirings, heads, layouts, and their costs.

The structure is written once, against `ops.Ops`; `keras_ops` builds it and `count_ops` counts it.
Importing this package registers the layouts, decompositions and heads without TensorFlow.
"""

from larq_groupnet.network import decomposition as _decomposition  # noqa: F401
from larq_groupnet.network import heads as _heads  # noqa: F401
from larq_groupnet.network import layouts as _layouts  # noqa: F401
