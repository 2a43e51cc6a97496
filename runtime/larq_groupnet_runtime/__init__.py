"""Runs binary networks converted by Larq Compute Engine in every stock TFLite interpreter."""

from larq_groupnet_runtime._delegate import load_delegate

__all__ = ["load_delegate"]
