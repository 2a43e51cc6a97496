"""A random change of one's own: a part of the images is taken at night, with its noise."""

import tensorflow as tf

from larq_groupnet.data.augment import augmentation, unchanged

# In a recipe: augmentation="night".


@augmentation("night", targets=("label", "mask"))
def night(image, target, size, seed, *, colour_jitter=0.2):
    """Takes a field of the recipe by name; `colour_jitter` is how dark it gets."""
    image, target = unchanged(image, target, size, seed)
    light = tf.random.stateless_uniform((), seed, 1 - colour_jitter, 1)
    noise = tf.random.stateless_normal(tf.shape(image), seed, stddev=20 * (1 - light))
    return tf.clip_by_value(image * light + noise, 0, 255), target
