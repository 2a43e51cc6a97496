"""A ring: each base reads what its neighbour gave in the block before, in place of a gate."""

from larq_groupnet.network.blocks import aggregate, bases, blocks
from larq_groupnet.network.kinds import decomposition


@decomposition("ring")
def ring(ops, x):
    own = []
    for stage, index in blocks(ops.config):
        count = ops.config.bases_per_stage[stage]
        streams = [*own[-1:], *own[:-1]][:count]
        streams += [x] * (count - len(streams))  # Bases without a predecessor.
        own = bases(ops, streams, stage, index)
        x = aggregate(ops, own, stage, index)
        yield stage, x
