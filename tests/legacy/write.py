# ruff: noqa: I001
"""How `tf215.tar.xz` was written, in a checkout of commit ac95850 with TensorFlow 2.15.1.

OPTIONS="--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.0625 --set=batch_size=32
    --set=stage_blocks=(1,1,1,1) --set=input_shape=(16,16,1) --set=steps_per_epoch=6"
python train.py $OPTIONS --epochs=0,1 --int8_epochs=1 --output_dir=int8
python train.py $OPTIONS --epochs=1,3 --output_dir=stopped   # SIGTERM in step 3 of the third epoch
python write.py
"""

import numpy as np
import tensorflow as tf

import larq_groupnet as g
from larq_groupnet.family import get_config
from larq_groupnet.training.saved import load_run
from larq_groupnet.weights import packed

OPTIONS = {
    "input_shape": (16, 16, 3),
    "num_classes": 10,
    "num_bases": 1,
    "width": 0.0625,
    "stage_blocks": (1, 1, 1, 1),
}


def main() -> None:
    tf.keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    model = g.GroupNetResNet18(**OPTIONS)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.train_on_batch(images, np.arange(4))
    model.save("model.h5", include_optimizer=False)
    model = tf.keras.models.load_model("model.h5", compile=False)
    model.save("model.keras")
    packed.save(
        model,
        get_config("groupnet_resnet18", **OPTIONS),
        "model.safetensors",
        dataset="digits",
        classes=map(str, range(10)),
        preprocessing={"size": [16, 16], "normalisation": "symmetric"},
        metrics=[],
        licence="Apache-2.0",
    )
    outputs = {name: load_run(name)(images[..., :1]).numpy() for name in ("int8", "stopped")}
    np.savez_compressed("outputs.npz", images=images, model=model(images).numpy(), **outputs)


if __name__ == "__main__":
    main()
