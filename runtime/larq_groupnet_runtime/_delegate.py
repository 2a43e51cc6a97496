"""Loads the engine's shared library as a delegate of any TFLite interpreter."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, NoReturn

from larq_groupnet_runtime.errors import InputError

LIBRARY = Path(__file__).with_name("liblarq_groupnet_runtime.so")

_Address, _Text, _Texts = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)
_ReportError = ctypes.CFUNCTYPE(None, _Text)
_Visit = ctypes.CFUNCTYPE(None, _Address, _Text, ctypes.c_double, ctypes.c_uint64)

_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "tflite_plugin_create_delegate": (_Address, _Texts, _Texts, ctypes.c_size_t, _ReportError),
    "tflite_plugin_destroy_delegate": (None, _Address),
    "larq_groupnet_runtime_version": (_Text,),
    "larq_groupnet_runtime_kernels": (_Text,),
    "larq_groupnet_runtime_kernel": (_Text, _Address),
    "larq_groupnet_runtime_profile": (None, _Address, _Visit, _Address),
}
"""Name -> return type, then argument types."""


def library_path() -> Path:
    """The shared library: next to this file, or LARQ_GROUPNET_RUNTIME_LIBRARY if it is set."""
    return Path(os.environ.get("LARQ_GROUPNET_RUNTIME_LIBRARY", LIBRARY))


def load_library() -> ctypes.CDLL:
    """Loads the shared library and declares its C functions."""
    library = ctypes.CDLL(str(library_path()))
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    return library


def engine() -> str:
    """The version of the engine and the kernels that this machine can run, fastest first."""
    version = load_library().larq_groupnet_runtime_version().decode()
    return f"{version} ({', '.join(available_kernels())})"


def available_kernels() -> list[str]:
    """The kernels that this machine can run, fastest first."""
    return str(load_library().larq_groupnet_runtime_kernels().decode()).split(",")


class Delegate:
    """The engine of one interpreter, for its `experimental_delegates`.

    It implements the one method through which the interpreters of ai-edge-litert, tflite-runtime
    and TensorFlow get a delegate's address, so it depends on none of them.
    """

    def __init__(self, options: dict[str, object]) -> None:
        self._pointer: int | None = None
        self._library = load_library()
        messages: list[str] = []
        report = _ReportError(lambda message: messages.append(message.decode(errors="replace")))
        array = ctypes.c_char_p * len(options)
        keys = array(*(key.encode(errors="replace") for key in options))
        values = array(*(_text(value).encode(errors="replace") for value in options.values()))
        self._pointer = self._library.tflite_plugin_create_delegate(
            keys, values, len(options), report
        )
        if not self._pointer:
            raise InputError("; ".join(messages) or "the engine refused its options.")

    @property
    def kernel(self) -> str:
        """The kernel that runs binary convolutions, such as `"avx2"`."""
        return str(self._library.larq_groupnet_runtime_kernel(self._pointer).decode())

    def profile(self) -> list[tuple[str, float, int]]:
        """Name, total seconds and number of runs of every step; needs the option `profile`."""
        steps: list[tuple[str, float, int]] = []
        visit = _Visit(lambda _, name, *measured: steps.append((name.decode(), *measured)))
        self._library.larq_groupnet_runtime_profile(self._pointer, visit, None)
        return steps

    def _get_native_delegate_pointer(self) -> int | None:
        return self._pointer

    def __reduce__(self) -> NoReturn:
        """Refuses copies, which would free the engine twice, and pickles."""
        raise TypeError("an engine cannot be copied or pickled: make another with load_delegate")

    def __del__(self) -> None:
        if self._pointer:
            self._library.tflite_plugin_destroy_delegate(self._pointer)
            self._pointer = None


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def load_delegate(**options: object) -> Delegate:
    """Makes a delegate for `Interpreter(..., experimental_delegates=[load_delegate()])`.

    Args:
        **options: `num_threads` (1 to 64), `kernel` ("auto", "generic", "avx2", "avx512",
            "neon"), `fuse` (True or False), `profile` (True or False).

    Returns:
        The delegate. It must live as long as the interpreter, which keeps a reference.

    Raises:
        InputError: If an option is unknown or this machine does not support its value.
    """
    return Delegate(options)
