"""Larq's quantizers by name and what is known of them, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Quantizer(NamedTuple):
    """Facts of a quantizer.

    Attributes:
        bits: Of its values, as `lq.models.summary` counts them.
        signs: Its values are +1 and -1 and nothing else; those that share this differ in their
            gradient alone.
        engine: Larq Compute Engine has a binary kernel for it.
    """

    bits: int
    signs: bool = False
    engine: bool = False


QUANTIZERS = {
    "ste_sign": Quantizer(1, signs=True, engine=True),
    "approx_sign": Quantizer(1, signs=True, engine=True),
    "swish_sign": Quantizer(1, signs=True, engine=True),
    "magnitude_aware_sign": Quantizer(1, engine=True),  # A sign times a factor per channel.
    "ste_tern": Quantizer(2),
    "ste_heaviside": Quantizer(1),
    "dorefa_quantizer": Quantizer(2),
}

NOT_BINARY_QUANTIZERS = tuple(name for name, known in QUANTIZERS.items() if not known.engine)
"""Those that Larq Compute Engine has no binary kernel for."""


def bits_of(quantizer: Any) -> int:
    """Bits of the values that a quantizer gives: a name, Larq's object, or its config."""
    if isinstance(quantizer, str) and quantizer in QUANTIZERS:
        return QUANTIZERS[quantizer].bits
    if isinstance(quantizer, Mapping):
        import larq as lq

        quantizer = lq.quantizers.get(dict(quantizer))
    return getattr(quantizer, "precision", None) or 32


def function_of(quantizer: Any) -> Any:
    """The quantizer, or `"sign"` for one of those that differ in their gradient alone."""
    known = QUANTIZERS.get(quantizer) if isinstance(quantizer, str) else None
    return "sign" if known is not None and known.signs else quantizer
