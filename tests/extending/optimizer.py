"""An optimizer with an argument of its own: SGD by the sign of the gradient, Keras' way."""

import tensorflow as tf

# In a recipe: Phase(..., optimizer={"class_name": "mine>SignSGD", "config": {"share": 0.5}}).
# On the command line: --set "optimizer=mine>SignSGD" --set optimizer.share=0.5


@tf.keras.utils.register_keras_serializable("mine")
class SignSGD(tf.keras.optimizers.Optimizer):
    def __init__(self, learning_rate=1e-3, share=1.0, name="SignSGD", **options):
        super().__init__(name=name, **options)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.share = share

    def update_step(self, gradient, variable):
        step = self.share * tf.sign(gradient) + (1 - self.share) * gradient
        variable.assign_sub(tf.cast(self.learning_rate, variable.dtype) * step)

    def get_config(self):
        rate = self._serialize_hyperparameter(self._learning_rate)
        return {**super().get_config(), "learning_rate": rate, "share": self.share}
