"""Calls of mmcv's operators, by which this package's are compared with compiled mmcv's. One file for each kind.

To add an operator, write a function with `@operator` in a file here, import that file below, and run
`tools/dev/mmcv_fixtures.py`, where compiled mmcv is installed, for what mmcv answers.
"""
from . import boxes, dense, regions  # noqa: F401  fill OPERATORS
from .calls import FIXTURES, OPERATORS, difference, operators_from  # noqa: F401
