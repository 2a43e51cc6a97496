"""A head that adds the scores of all stages, from the last to the first (like FCN-8s, further)."""

from larq_groupnet.network.heads import scores_of_pixels
from larq_groupnet.network.kinds import head


@head("fcn4s", task="segmentation")
def fcn4s(ops, stages):
    config, total = ops.config, None
    for stage in sorted(stages, reverse=True):
        name = f"head_score{stage + 1}"
        scores = ops.conv(stages[stage], config.num_classes, 1, name, bias=True)
        if total is not None:
            if config.stage_strides[stage + 1] > 1:
                total = ops.resize(total, stages[stage], f"{name}_up")
            scores = ops.add([total, scores], f"{name}_sum")
        total = scores
    return scores_of_pixels(ops, total)
