"""A backbone for tests that train or convert: two of ResNet-18's four stages.

Only processes that import this module have it. tests/conftest.py imports it.
"""

from larq_groupnet.network.kinds import layout
from larq_groupnet.network.layouts import basic

layout("two_stages", blocks=(1, 1), channels=(64, 128))(basic)
