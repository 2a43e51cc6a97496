"""Larq Compute Engine's converter and interpreter; if it is missing, their first use raises."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from larq_groupnet.errors import MissingPackageError

try:
    from larq_compute_engine import convert_saved_model
    from larq_compute_engine.mlir.python.util import modify_integer_quantized_model_io_type
    from larq_compute_engine.tflite.python.interpreter import Interpreter as EngineInterpreter
except ImportError as error:
    _REASON = error

    def _missing(*_: Any, **__: Any) -> NoReturn:
        version = ".".join(map(str, sys.version_info[:2]))
        raise MissingPackageError(
            "larq-compute-engine: expected to be installed, since it converts models and runs "
            f"converted files. Received: {_REASON}, on Python {version}. Use Python 3.10, 3.11 or "
            "3.12; there are no wheels for Linux on ARM."
        )

    convert_saved_model = modify_integer_quantized_model_io_type = _missing

    class EngineInterpreter:  # type: ignore[no-redef]
        """Placeholder for LCE's interpreter."""

        def __init__(self, *_: Any, **__: Any):
            _missing()


__all__ = ["EngineInterpreter", "convert_saved_model", "modify_integer_quantized_model_io_type"]
