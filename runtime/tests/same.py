"""Compares this machine with LCE's interpreter on the files of networks.py.

    python same.py FOLDER [BACKEND]

needs this package, a TFLite interpreter, and nothing else. Ends with status 1 if an output differs.
"""

from __future__ import annotations

import io
import platform
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from larq_groupnet_runtime import Interpreter, load_delegate
from larq_groupnet_runtime._delegate import available_kernels
from larq_groupnet_runtime.backends import Backend, find_backend
from larq_groupnet_runtime.images import read_image

LEAST_AGREEMENT = 0.995
"""Where the float layers round in another order, a sign near 0 flips now and then."""

LARGEST_ERROR = 0.02
"""Median over the positions, of the largest output."""

X86_KERNELS = {
    "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512_vpopcntdq"},
    "avx2": {"avx2"},
}


def main(folder: Path, name: str | None) -> int:
    """Prints a line for each file."""
    backend = find_backend(name)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, ",
        end="",
    )
    print(f"{backend.name} {backend.version}, kernels {', '.join(available_kernels())}")
    results = [available_kernels() == expected_kernels()]
    if not results[0]:
        print(f"  DIFFERENT: expected the kernels {', '.join(expected_kernels())}")
    results.append(same_image())
    for file in sorted(folder.glob("*.npz")):
        compare = same_bits if file.stem.startswith("fuzz") else same_network
        right, text = compare(file.with_suffix(".tflite"), dict(np.load(file)), backend)
        print(f"  {file.stem:14} {'same' if right else 'DIFFERENT'}: {text}", flush=True)
        results.append(right)
    return int(len(results) == 2 or not all(results))


def same_image() -> bool:
    """True if this Python and Pillow read an image."""
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "PNG")
    right = np.array_equal(read_image(file.getvalue(), 1), pixels)
    print(f"  {'image':14} {'same' if right else 'DIFFERENT'}")
    return right


def expected_kernels() -> list[str]:
    """The kernels of this processor, as its own list of features names it, fastest first."""
    if platform.machine() != "x86_64":
        return ["neon", "generic"]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    return [*(name for name, needs in X86_KERNELS.items() if needs <= flags), "generic"]


def same_network(file: Path, data: dict[str, np.ndarray], backend: Backend) -> tuple[bool, str]:
    """Compares a network by the class of each position and by its outputs."""
    network = Interpreter(file, num_threads=2, backend=backend.name)
    found, expected = network.predict(data["x"]), data["expected"]
    same = float((found.argmax(-1) == expected.argmax(-1)).mean())
    error = np.abs(found - expected) / np.abs(expected).max()
    right = same >= LEAST_AGREEMENT and np.median(error) <= LARGEST_ERROR
    return bool(right), (
        f"class {same:.2%}, largest error {error.max():.1e}, median {np.median(error):.1e}"
    )


def same_bits(file: Path, data: dict[str, np.ndarray], backend: Backend) -> tuple[bool, str]:
    """Compares operations of LCE bit by bit, by every kernel of this machine, fused and not."""
    plain = sys.modules[backend.interpreter.__module__].OpResolverType
    inputs, outputs = ([data[k] for k in sorted(data) if k.startswith(p)] for p in ("in", "out"))
    for kernel in available_kernels():
        for fuse in (False, True):
            network = backend.interpreter(
                str(file),
                experimental_delegates=[load_delegate(kernel=kernel, fuse=fuse, num_threads=2)],
                experimental_op_resolver_type=plain.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            network.allocate_tensors()
            for one, values in zip(network.get_input_details(), inputs):
                network.set_tensor(one["index"], values)
            network.invoke()
            found = [network.get_tensor(one["index"]) for one in network.get_output_details()]
            wrong = [
                number
                for number, (a, b) in enumerate(zip(found, outputs))
                if not np.array_equal(a, b.reshape(a.shape), equal_nan=a.dtype == np.float32)
            ]
            if wrong:
                return False, f"kernel {kernel}, fuse={fuse}: outputs {wrong} differ"
    return True, f"the bits of {len(outputs)} operations, every kernel, fused and not"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
