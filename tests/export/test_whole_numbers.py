"""Whole numbers give what Python and OpenCV compute in double precision, where products end in halves too."""
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmvision_mamba.export.whole_numbers import least, positions, ratio, scaled, whole

SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, SIDES)
@example(255, 800, 192)
def test_a_side_is_scaled_as_python_does_it(side, p, q):
    assert scaled(whole(side), (whole(p), whole(q))).item() == int(side * (p / q) + 0.5)


@pytest.mark.parametrize('p', [800, 1333, 512, 1000, 96])
def test_halves_are_rounded_as_python_does_it(p):
    """Of sides up to 2,000 whose product is an odd number of halves, some of which double precision misses."""
    sides, q = np.meshgrid(np.arange(1, 2001), np.arange(1, 2001))
    halves = 2 * sides * p % (2 * q) == q
    sides, q = sides[halves], q[halves]
    wanted = (sides * (p / q) + 0.5).astype(int)
    missed = np.flatnonzero(wanted < sides * p / q)
    assert len(missed) > 5 or p in (1333, 512)
    some = np.random.default_rng(0).choice(len(sides), 300)
    for i in (*some, *missed[:300]):
        assert scaled(whole(sides[i]), (whole(p), whole(q[i]))).item() == wanted[i]


TYPED = st.one_of(st.integers(20, 100_000).map(lambda n: n / 1000), st.integers(1, 10**9).map(lambda n: n / 10**9),
                  st.tuples(SIDES, SIDES).map(lambda pair: pair[0] / pair[1]).filter(lambda x: 0.01 < x < 100))


@given(TYPED, SIDES)
@example(0.1, 5)
@example(1 / 3, 1000)
@example(2**.5, 15)
def test_a_factor_is_a_fraction_that_divides_to_it(factor, side):
    p, q = ratio(factor)
    assert p.item() / q.item() == factor
    assert scaled(whole(side), (p, q)).item() == int(side * factor + 0.5)


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_smaller_fraction_is_found(p, q, r, s):
    a, b = (least((whole(p), whole(q)), (whole(r), whole(s)))[i].item() for i in (0, 1))
    assert Fraction(a, b) == min(Fraction(p, q), Fraction(r, s))


@given(SIDES, st.one_of(st.integers(1, 4096), st.integers(0, 12).map(lambda i: 2**i)))
@example(2, 21)
@example(13655, 1024)
@example(7798, 4096)
@example(20_000, 4096)
def test_positions_are_those_of_double_precision(old, new):
    found = positions(whole(old), whole(new), new).numpy()
    wanted = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    exact = [Fraction((2 * i + 1) * old - new, 2 * new) for i in range(new)]
    # Half way between two numbers of float32, double precision may be on either side.
    between = np.array([2 * place / Fraction(float(np.spacing(value))) % 2 == 1 for place, value in zip(exact, wanted)])
    same = (wanted >= 0.5) & ~between
    np.testing.assert_array_equal(found[same], wanted[same])
    assert (np.abs(found - wanted) <= np.maximum(np.spacing(np.abs(wanted)), 2**-25)).all()
