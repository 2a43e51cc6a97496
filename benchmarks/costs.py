"""Costs of Group-Net at 224 x 224 and 1000 classes: counted, and as a converted file.

    python benchmarks/costs.py
    python benchmarks/costs.py --model groupnet_resnet18 --num_bases 1 --num_bases 5

Every network is folded and converted with random weights, which takes half a minute to several
minutes. Rows are printed as they are ready, in Markdown. The paper claims (as recalled) 64 / K
times less work and 32 / K times less memory; this covers only the binary part.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from larq_groupnet import complexity, get_model  # noqa: E402
from larq_groupnet.deploy.export import to_tflite  # noqa: E402
from larq_groupnet.deploy.fold import fold  # noqa: E402
from larq_groupnet.family import get_config, list_models  # noqa: E402

_MODELS = flags.DEFINE_multi_enum(
    "model", list_models("*resnet*"), list_models("*resnet*"), "Repeatable."
)
_BASES = flags.DEFINE_multi_integer("num_bases", [1, 4, 5, 8], "K; repeatable.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Prints one row per model and K."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    print(
        "| model | K | OPs | fewer than real | paper's claim | parameters | file | fewer | claim |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for name in _MODELS.value:
        for bases in _BASES.value:
            print(row(name, bases), flush=True)


def row(name: str, bases: int) -> str:
    """One row: counted and claimed savings of work and of memory."""
    total = complexity(get_config(name, num_bases=bases)).total
    size = len(to_tflite(fold(get_model(name, num_bases=bases))))
    return (
        f"| {name} | {bases} | {total.ops / 1e6:.1f} M | {total.ops_compression:.1f}x "
        f"| {64 / bases:.1f}x | {total.total_memory / 1e6:.2f} MB | {size / 1e6:.2f} MB "
        f"| {4 * total.twin_params / size:.1f}x | {32 / bases:.1f}x |"
    )


if __name__ == "__main__":
    app.run(main)
