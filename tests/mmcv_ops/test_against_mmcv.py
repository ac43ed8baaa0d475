"""Operators equal compiled mmcv's: what it answered once, and, where it is installed, what it answers."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba import mmcv_ops
from mmvision_mamba.mmcv_ops import extension

from ..helpers.mmcv_operators import FIXTURES, OPERATORS, difference


@pytest.fixture(scope='module')
def compiled():
    """Compiled mmcv's operators."""
    from importlib import import_module
    module = import_module(mmcv_ops.NAME)
    if mmcv_ops.in_use():
        pytest.skip('no compiled mmcv is installed here')
    return module


@pytest.mark.parametrize('name', OPERATORS)
def test_operators_answer_as_compiled_mmcv_did(name):
    expected = dict(np.load(FIXTURES / f'{name}.npz'))
    complaint = difference(OPERATORS[name].answers(extension), expected, OPERATORS[name].tolerance)
    assert not complaint


@pytest.mark.parametrize('name', OPERATORS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_operators_answer_as_compiled_mmcv_does(compiled, name, data):
    operator = OPERATORS[name]
    seed = data.draw(st.integers(0, 2**32 - 1), 'seed')
    options = {option: data.draw(st.sampled_from(values), option) for option, values in operator.options.items()}
    complaint = difference(operator.answer(extension, seed, **options), operator.answer(compiled, seed, **options),
                           operator.tolerance)
    assert not complaint


def test_fixtures_are_those_of_the_operators_and_small():
    files = list(FIXTURES.iterdir())
    assert {path.name for path in files} == {f'{name}.npz' for name in OPERATORS}
    assert sum(path.stat().st_size for path in files) < 1 << 20
