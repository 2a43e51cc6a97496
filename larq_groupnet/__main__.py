"""Commands beside training.

python -m larq_groupnet summary groupnet_resnet18 --set num_bases=3 --json
python -m larq_groupnet import-checkpoint FILE.pth.tar --output weights/resnet18
"""

from __future__ import annotations

import sys

from absl import app, flags

_SET = flags.DEFINE_multi_string("set", [], "summary: key=value, an option of the model.")
_JSON = flags.DEFINE_bool("json", False, "summary: print JSON.")
_OUTPUT = flags.DEFINE_string("output", "weights", "import-checkpoint: writes OUTPUT.h5 and .json.")


def main(argv: list[str]) -> None:
    """Runs one command; a wrong word or value is one line and status 2."""
    commands = {"summary": _summary, "import-checkpoint": _import_checkpoint}
    if len(argv) != 3 or argv[1] not in commands:
        print(f"expected one of: {', '.join(commands)}, and what to do it with.{__doc__}")
        sys.exit(2)
    try:
        commands[argv[1]](argv[2])
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"larq_groupnet: {error}", file=sys.stderr)
        sys.exit(2)


def _summary(name: str) -> None:
    from larq_groupnet.complexity import format_json, report
    from larq_groupnet.registry import get_config
    from larq_groupnet.training.recipe import parse_options

    config = get_config(name, **parse_options(_SET.value))
    print(format_json(config) if _JSON.value else report(config))


def _import_checkpoint(path: str) -> None:
    from larq_groupnet.weights.checkpoint import main as import_checkpoint

    import_checkpoint(path, _OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
