"""The installed library offers the kernels of this processor."""

from same import expected_kernels

from larq_groupnet_runtime._delegate import available_kernels


def test_kernels_are_those_of_the_processor() -> None:
    assert available_kernels() == expected_kernels()
