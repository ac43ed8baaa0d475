import pytest


@pytest.fixture
def our_operators():
    """mmcv's Python on this package's operators, where compiled ones are installed too."""
    pytest.importorskip('mmcv')
    from mmvision_mamba.mmcv_ops import extension

    from ..helpers.mmcv_operators import operators_from
    with operators_from(extension):
        yield
