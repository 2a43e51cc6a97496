"""Schedules against plain arithmetic, and what the optimizers leave alone."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.recipe import Phase
from larq_groupnet.training.optimizers import (
    check_optimizer,
    make_optimizer,
    not_decayed,
    optimizer,
    schedule,
)

CONFIG = GroupNetConfig(
    layout="two_stages",
    input_shape=(16, 16, 1),
    num_classes=3,
    num_bases=1,
    width=0.0625,
    stem_stride=1,
    output_stride=2,
)


@functools.cache
def built(number):
    tf.keras.utils.set_random_seed(0)
    model = build(CONFIG)
    return model, model.get_weights()


def network(number=0):
    """One network for all tests, and a twin, with its first weights."""
    model, start = built(number)
    model.set_weights(start)
    return model


def phase(**options):
    return Phase("binary", **{"epochs": 10, "learning_rate": 0.1, "binary": True, **options})


def cosine(step, steps, warmup):
    if step < warmup:
        return 0.1 * (0.02 + 0.98 * step / warmup)
    done = (step - warmup) / (steps - warmup)
    return 0.1 * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda step: cosine(step, 50, 5)),
        ({"warmup_epochs": 0}, lambda step: cosine(step, 50, 0)),
        ({"warmup_epochs": 2.2}, lambda step: cosine(step, 50, 11)),
        ({"schedule": "constant", "warmup_epochs": 0}, lambda step: 0.1),
        ({"schedule": "poly", "warmup_epochs": 0}, lambda step: 0.1 * (1 - step / 50) ** 0.9),
        (
            {"schedule": "steps", "warmup_epochs": 0, "drops": (4, 8)},
            lambda step: 0.1 * 0.1 ** ((step >= 20) + (step >= 40)),
        ),
    ],
)
def test_schedule_is_what_it_says(options, expected):
    rate = schedule(phase(**options), steps_per_epoch=5)
    for step in range(51):
        np.testing.assert_allclose(rate(tf.constant(step)), expected(step), rtol=2e-5, atol=1e-7)


def test_decay_leaves_latent_kernels_and_normalisation_alone():
    binary, real = (build(CONFIG.replace(binary=b)) for b in (True, False))
    decayed = {
        model: {w.name for w in model.trainable_weights}
        - {weight.name for weight in not_decayed(model)}
        for model in (binary, real)
    }
    assert decayed[binary] == {"stem_conv/kernel:0", "logits/kernel:0"}
    kernels = {w.name for w in real.trainable_weights if w.name.endswith("kernel:0")}
    assert decayed[real] == kernels
    assert len(kernels) == 2 + 2 * 2 + 1


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_is_decoupled(name):
    """With no gradient, a weight shrinks by learning rate times decay."""
    model = network()
    chosen = optimizer(
        phase(optimizer=name, weight_decay=0.5, schedule="constant", warmup_epochs=0), model, 5
    )
    before = {weight.name: weight.numpy() for weight in model.trainable_weights}
    zeros = [tf.zeros_like(weight) for weight in model.trainable_weights]
    chosen.apply_gradients(zip(zeros, model.trainable_weights, strict=True))
    for weight in model.trainable_weights:
        factor = 0.95 if weight.name in ("stem_conv/kernel:0", "logits/kernel:0") else 1
        np.testing.assert_allclose(weight, before[weight.name] * factor, rtol=1e-6)


def test_bop_lowers_the_loss():
    model = network()
    rng = np.random.RandomState(0)
    images, labels = rng.normal(size=(32, 16, 16, 1)).astype("f4"), rng.randint(0, 3, 32)
    images[np.arange(32), labels] += 3
    chosen = optimizer(phase(optimizer="bop", clip_norm=1.0, learning_rate=3e-3), model, 3)
    model.compile(chosen, "sparse_categorical_crossentropy")
    losses = model.fit(images, labels, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.5, "clip_norm": 0.5, "average": 0.9},
    ],
)
def test_fused_adam_is_keras_adam(options):
    models = [network(number) for number in range(2)]
    models[1].set_weights(models[0].get_weights())
    settings = phase(**options)
    keras = tf.keras.optimizers.Adam(
        schedule(settings, 5),
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clip_norm or None,
        use_ema=settings.average > 0,
        ema_momentum=settings.average,
        jit_compile=False,
    )
    keras.exclude_from_weight_decay(not_decayed(models[1]))
    keras.build(models[1].trainable_variables)
    both = [optimizer(settings, models[0], 5), keras]
    rng = np.random.default_rng(0)
    for _ in range(6):
        gradients = [
            tf.constant(rng.normal(size=w.shape), "float32") for w in models[0].trainable_weights
        ]
        for model, chosen in zip(models, both, strict=True):
            chosen.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    for ours, theirs in zip(both[0].variables, keras.variables, strict=True):
        assert ours.name == theirs.name.replace(keras.name, both[0].name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)
    for ours, theirs in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_bop_flips_binary_kernels_and_keeps_them_binary():
    model = network()
    kernel = model.get_layer("stage1_block1_base1_conv1").kernel
    kernel.assign(tf.sign(kernel))
    before = kernel.numpy()
    chosen = optimizer(phase(optimizer="bop"), model, 5)
    for _ in range(3):
        gradients = [tf.sign(weight) * 10 for weight in model.trainable_weights]
        chosen.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    assert set(np.unique(kernel)) <= {-1.0, 1.0}
    assert np.any(kernel.numpy() != before)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_head_moves_as_with_a_learning_rate_of_its_own(name):
    """Each weight as Keras' own optimizer moves it at the rate that it should have."""
    model = network()
    weights = model.trainable_weights
    options = {"optimizer": name, "weight_decay": 0.5, "schedule": "poly", "warmup_epochs": 0}
    start = model.get_weights()
    rng = np.random.RandomState(0)
    gradients = [[rng.normal(size=w.shape).astype("f4") for w in weights] for _ in range(3)]

    def after(**more):
        model.set_weights(start)
        chosen = optimizer(phase(**options, **more), model, 5)
        for values in gradients:
            chosen.apply_gradients(zip(values, weights, strict=True))
        assert chosen.iterations == 3
        return {weight.name: weight.numpy() for weight in weights}

    moved, slow, fast = after(head_factor=10.0), after(), after(learning_rate=1.0)
    head = {name for name in moved if name.startswith("logits/")}
    assert len(head) == 2
    for weight in moved:
        expected = (fast if weight in head else slow)[weight]
        np.testing.assert_allclose(moved[weight], expected, rtol=1e-6, atol=1e-7)
        assert not np.allclose(fast[weight], slow[weight])


def test_snapshot_does_not_depend_on_the_factor(tmp_path):
    model = network()
    weights = model.trainable_weights
    with_factor, without = (optimizer(phase(head_factor=f), model, 5) for f in (10.0, 1.0))
    with_factor.apply_gradients([(tf.ones_like(weight), weight) for weight in weights])
    tf.train.Checkpoint(optimizer=with_factor).write(str(tmp_path / "state"))
    read = tf.train.Checkpoint(optimizer=without).read(str(tmp_path / "state"))
    read.assert_existing_objects_matched()
    for one, other in zip(with_factor.variables, without.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def dense():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, use_bias=False, input_shape=(3,))])
    model.layers[0].kernel.assign(np.arange(6.0).reshape(3, 2))
    return model, model.trainable_weights


def test_clipping_bounds_the_norm_of_all_gradients():
    model, (kernel,) = dense()
    plain = {"optimizer": "sgd", "schedule": "constant", "warmup_epochs": 0}
    gradient = np.full((3, 2), 2.0, "f4")
    optimizer(phase(clip_norm=0.5, **plain), model, 5).apply_gradients([(gradient, kernel)])
    step = 0.1 * 0.5 * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(kernel, np.arange(6.0).reshape(3, 2) - step, rtol=1e-5)


def test_average_is_exponential():
    model, (kernel,) = dense()
    plain = {"optimizer": "sgd", "schedule": "constant", "warmup_epochs": 0}
    chosen = optimizer(phase(average=0.75, **plain), model, 5)
    expected = values = np.arange(6.0).reshape(3, 2)
    velocity = np.zeros((3, 2))
    for number in range(4):
        gradient = np.full((3, 2), number + 1.0, "f4")
        chosen.apply_gradients([(gradient, kernel)])
        velocity = 0.9 * velocity - 0.1 * gradient
        values = values + velocity
        expected = 0.75 * expected + 0.25 * values
    np.testing.assert_allclose(kernel, values, rtol=1e-5)
    chosen.finalize_variable_values(model.trainable_weights)
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_coupled_decay_is_that_of_pytorch(name):
    """PyTorch's arithmetic in NumPy: decay joins the gradient before any moments are taken."""
    model = build(CONFIG.replace(binary=False))
    settings = phase(
        optimizer=name, weight_decay=0.5, coupled_decay=True, schedule="constant", warmup_epochs=0
    )
    chosen = optimizer(settings, model, 5)
    weights = {weight.name: weight.numpy().astype("f8") for weight in model.trainable_weights}
    first, second = ({key: 0.0 for key in weights} for _ in range(2))
    rng = np.random.RandomState(0)
    for step in range(1, 5):
        gradients = [rng.normal(5, size=w.shape).astype("f4") for w in model.trainable_weights]
        chosen.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        for key, gradient in zip(weights, gradients, strict=True):
            gradient = gradient + 0.5 * weights[key] * key.endswith("kernel:0")
            if name == "sgd":
                first[key] = 0.9 * first[key] + gradient
                weights[key] -= 0.1 * first[key]
                continue
            first[key] = 0.9 * first[key] + 0.1 * gradient
            second[key] = 0.999 * second[key] + 0.001 * gradient**2
            size = np.sqrt(second[key] / (1 - 0.999**step)) + 1e-7
            weights[key] -= 0.1 * first[key] / (1 - 0.9**step) / size
    for weight in model.trainable_weights:
        np.testing.assert_allclose(weight, weights[weight.name], rtol=1e-4, atol=2e-4)


def test_decay_of_all_weights_is_that_of_the_released_code():
    """In NumPy: a latent kernel's gradient over its mean magnitude, then decay of every weight."""
    model = network()
    settings = phase(
        optimizer={"class_name": "adam", "config": {"epsilon": 1e-8}},
        weight_decay=1e-6,
        coupled_decay=True,
        decay_all=True,
        schedule="constant",
        warmup_epochs=0,
    )
    chosen = optimizer(settings, model, 5)
    rng = np.random.RandomState(0)
    before = [weight.numpy().astype("f8") for weight in model.trainable_weights]
    gradients = [rng.normal(size=weight.shape) * 1e-7 for weight in before]
    pairs = zip([g.astype("f4") for g in gradients], model.trainable_weights, strict=True)
    chosen.apply_gradients(pairs)
    for weight, old, gradient in zip(model.trainable_weights, before, gradients, strict=True):
        if "_base" in weight.name and weight.name.endswith("kernel:0"):
            gradient = gradient / np.abs(old).mean()
        gradient = gradient + 1e-6 * old
        # Keras' Adam does not correct the bias beside epsilon, which the first step shows.
        expected = old - 0.1 * gradient / (np.abs(gradient) + 1e-8 / np.sqrt(0.001))
        if weight.constraint is not None:
            expected = np.clip(expected, -1, 1)
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-4, err_msg=weight.name)


def test_gradient_of_a_scaled_kernel_is_that_of_its_sign_over_the_scale():
    """Why `decay_all` divides: a normalisation follows both kernels."""
    rng = np.random.RandomState(0)
    x, w = (tf.constant(rng.normal(size=shape)) for shape in ((64, 9), (9, 4)))
    weights = tf.constant(rng.normal(size=(64, 4)))
    gradients = []
    for scale in (tf.reduce_mean(tf.abs(w)), tf.constant(1.0, tf.float64)):
        with tf.GradientTape() as tape:
            tape.watch(w)
            kernel = w + tf.stop_gradient(scale * tf.sign(w) - w)  # The gradient passes as it is.
            z = x @ kernel
            mean, variance = tf.nn.moments(z, 0)
            loss = tf.reduce_sum(weights * (z - mean) / tf.sqrt(variance))
        gradients.append(tape.gradient(loss, w).numpy())
    scale = np.abs(w).mean()
    np.testing.assert_allclose(gradients[0], gradients[1] / scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "RMSprob"}, "Did you mean 'RMSprop'"),
        ({"optimizer": {"class_name": "RMSprop", "config": {"row": 0.5}}}, "arguments of RMSprop"),
        ({"schedule": {"class_name": "cosine", "config": {"beta": 0.5}}}, "beta"),
        ({"schedule": "CosineDekay"}, "Did you mean 'CosineDecay'"),
    ],
)
def test_optimizer_unknown_to_keras_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        make_optimizer(phase(**options), 5)


@pytest.mark.parametrize("options", [{"optimizer": 3}, {"loss": {"name": "focal"}}])
def test_optimizer_that_is_no_name_is_refused_without_tensorflow(options):
    with pytest.raises(RecipeError, match="expected a name, or"):
        phase(**options)


@pytest.mark.parametrize("value", ["abc", 7, None])
def test_argument_that_an_optimizer_cannot_compute_with_is_refused(value):
    spec = {"class_name": "adam", "config": {"beta_2": value}}
    with pytest.raises(RecipeError, match="binary.optimizer: expected arguments .*Received: .*b"):
        check_optimizer(phase(optimizer=spec))
    check_optimizer(phase(optimizer={"class_name": "adam", "config": {"beta_2": 0.9}}))
    check_optimizer(phase(optimizer="bop"))


@pytest.mark.parametrize(("name", "wrong"), [("adam", {"beta_1": 1.0}), ("RMSprop", {"rho": 2.0})])
def test_argument_that_makes_a_weight_no_number_is_refused(name, wrong):
    spec = {"class_name": name, "config": wrong}
    with pytest.raises(RecipeError, match="binary.optimizer: expected arguments .* its first step"):
        check_optimizer(phase(optimizer=spec))


def test_unknown_argument_of_bop_is_refused():
    with pytest.raises(RecipeError, match="arguments of Bop .*Received: .*thresh"):
        make_optimizer(phase(optimizer={"class_name": "bop", "config": {"thresh": 1}}), 1)


def test_optimizer_and_a_schedule_of_keras_have_their_arguments():
    spec = {"class_name": "RMSprop", "config": {"rho": 0.5}}
    restarts = {"class_name": "CosineDecayRestarts", "config": {"first_decay_steps": 4}}
    chosen = make_optimizer(phase(optimizer=spec, schedule=restarts, warmup_epochs=0), 5)
    assert chosen.rho == 0.5
    rate = chosen._learning_rate
    np.testing.assert_allclose([rate(0), rate(2), rate(4)], [0.1, 0.05, 0.1], rtol=1e-6)
