"""Binary convolutions in 16 bits are those in 32, but for the rounding of what they store."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import needs_bfloat16


@pytest.mark.parametrize("name", [pytest.param("bfloat16", marks=needs_bfloat16), "float16"])
@pytest.mark.parametrize("stride", [1, 2])
def test_only_the_result_of_a_binary_convolution_is_rounded(name, stride):
    rng = np.random.RandomState(0)
    images = rng.normal(size=(2, 7, 7, 512)).astype("f4") + 0.2
    # With a bias, so that sums of 4,608 products come to more than either format counts exactly.
    kernel = rng.normal(size=(3, 3, 512, 16)).astype("f4") + 0.4
    found = {}
    for policy in ("float32", f"mixed_{name}"):
        tf.keras.mixed_precision.set_global_policy(policy)
        try:
            layer = lq.layers.QuantConv2D(
                16,
                3,
                strides=stride,
                padding="same",
                pad_values=1.0,
                use_bias=False,
                input_quantizer="ste_sign",
                kernel_quantizer="ste_sign",
            )
            model = tf.keras.Sequential([tf.keras.layers.Input(images.shape[1:]), layer])
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")
        layer.kernel.assign(kernel)
        found[policy] = model(images)
    exact = found["float32"].numpy()
    assert (exact == exact.round()).all()
    assert np.abs(exact).max() > {"bfloat16": 256, "float16": 300}[name]
    assert found[f"mixed_{name}"].dtype == name
    np.testing.assert_array_equal(
        tf.cast(found[f"mixed_{name}"], tf.float32), tf.cast(tf.cast(exact, name), tf.float32)
    )
