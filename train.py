"""`python train.py` is `larq-groupnet train`.

    python train.py --model groupnet_dsp
    python train.py --model groupnet_resnet18 --set num_bases=1 --epochs 1,3
    python train.py --model groupnet_resnet18 --evaluate runs/NAME
    python train.py --model groupnet_resnet18 --tune --tuner bayesian --max_ops 4e5

Each file in `zoo/` states its cost and the expected results. A stopped run resumes with the same
--output_dir, or with --resume FOLDER.
"""

import sys

if __name__ == "__main__":
    try:
        from larq_groupnet.cli import main
    except ImportError as error:  # The wrong TensorFlow. The message is one line.
        sys.exit(f"train.py: {error}")
    sys.exit(main(["train", *sys.argv[1:]]))
