"""Facts about Larq's quantizers, by name, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Quantizer(NamedTuple):
    """Facts about a quantizer.

    Attributes:
        bits: Bits of its values, as `lq.models.summary` counts them.
        signs: True if its values are only +1 and -1. Such quantizers differ only in their gradient.
        engine: True if Larq Compute Engine has a binary kernel for it.
        scale_free: True if it returns the same for x and for every positive multiple of x.
    """

    bits: int
    signs: bool = False
    engine: bool = False
    scale_free: bool = False


_SIGN = Quantizer(1, signs=True, engine=True, scale_free=True)

QUANTIZERS = {
    "ste_sign": _SIGN,
    "approx_sign": _SIGN,
    "swish_sign": _SIGN,
    "magnitude_aware_sign": Quantizer(1, engine=True),  # A sign times a factor per channel.
    "ste_tern": Quantizer(2),
    "ste_heaviside": Quantizer(1, scale_free=True),
    "dorefa_quantizer": Quantizer(2),
}

NOT_BINARY_QUANTIZERS = tuple(name for name, known in QUANTIZERS.items() if not known.engine)
"""Quantizers that Larq Compute Engine has no binary kernel for."""


def bits_of(quantizer: Any) -> int:
    """Bits of a quantizer's values. It may be a name, a Larq object or its config."""
    if isinstance(quantizer, str) and quantizer in QUANTIZERS:
        return QUANTIZERS[quantizer].bits
    if isinstance(quantizer, Mapping):
        import larq as lq

        quantizer = lq.quantizers.get(dict(quantizer))
    return getattr(quantizer, "precision", None) or 32


def function_of(quantizer: Any) -> Any:
    """The quantizer, or `"sign"` if it is a sign, whatever its gradient."""
    known = QUANTIZERS.get(quantizer) if isinstance(quantizer, str) else None
    return "sign" if known is not None and known.signs else quantizer
