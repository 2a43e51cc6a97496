"""A backbone for tests that train or convert: half of ResNet-18's stages are traced in half the time.

Only processes that import this module know it; tests/conftest.py does.
"""

from larq_groupnet.network.kinds import layout
from larq_groupnet.network.layouts import basic

layout("two_stages", blocks=(1, 1), channels=(64, 128))(basic)
