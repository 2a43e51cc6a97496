"""A network with trained weights, converted for images of another size than it was trained on."""

import numpy as np
import pytest

import larq_groupnet
from larq_groupnet.data.scenes import SCENE_SIZE, draw_scenes
from larq_groupnet.deploy import audit, convert, count_ops, load_interpreter


def large_scene(size):
    """Test scenes side by side: `(1, size, size, 3)` as a network reads them, and their mask."""
    side = -(-size // SCENE_SIZE)
    scenes = draw_scenes("test", side * side, 3)
    tiles = [np.concatenate([image, mask], axis=-1) for image, mask in scenes]
    rows = [np.hstack(tiles[row * side : (row + 1) * side]) for row in range(side)]
    whole = np.vstack(rows)[:size, :size]
    return whole[None, ..., :3].astype(np.float32) / 127.5 - 1, whole[..., 3]


@pytest.mark.slow
def test_segmenter_with_trained_weights_passes_audit_and_verify(tmp_path):
    images, mask = large_scene(128)
    model = larq_groupnet.GroupNetDSP(input_shape=(128, 128, 3), weights="digit_scenes")
    # Raises if a sign or an output differs by more than rounding, and warns of float operations.
    path = convert(model, tmp_path / "model.tflite", data=images)

    assert audit(path) == []
    ops = count_ops(path)
    assert (ops["LceBconv2d"], ops["LceDequantize"]) == (3 * (16 + 3), 0)  # ResNet-18 with K=3.
    scores = load_interpreter(path).predict(images)
    assert scores.shape == (1, 128, 128, 11)
    foreground = mask > 0
    assert np.mean(scores[0].argmax(-1)[foreground] == mask[foreground]) > 0.6
