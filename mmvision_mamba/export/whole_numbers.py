"""Sizes and positions of resized images in whole numbers, as double precision gives them: runtimes lack doubles.

Numbers are int64 tensors ``(1,)``, fractions pairs of them: of tensors without an axis the ONNX exporter makes float32.
"""
from fractions import Fraction

import torch
from torch import Tensor

Ratio = tuple[Tensor, Tensor]  # numerator and denominator, both positive
_POWERS = range(-24, 25)  # of two, between which ratios lie


def whole(number: int | Tensor) -> Tensor:
    """A number as int64 ``(1,)``."""
    return torch.as_tensor(number, dtype=torch.int64).reshape(1)


def ratio(number: float) -> Ratio:
    """The fraction next to a number, of a denominator of 10⁹ at most: of a typed decimal or quotient its own."""
    found = Fraction(number).limit_denominator(10**9)
    return whole(found.numerator), whole(found.denominator)


def least(a: Ratio, b: Ratio) -> Ratio:
    """The smaller of two fractions."""
    first = a[0] * b[1] <= b[0] * a[1]
    return torch.where(first, a[0], b[0]), torch.where(first, a[1], b[1])


def quotient(a: Tensor, b: Tensor | int) -> Tensor:
    """The whole part of the quotient of numbers that aren't negative."""
    return torch.div(a, b, rounding_mode='trunc')


def scaled(side: Tensor, by: Ratio) -> Tensor:
    """``int(side * (p / q) + 0.5)`` for the ratio p / q, bit for bit as Python computes it in double precision.

    Exact is the whole part of ``(2 side p + q) / 2q``. Rounding to 53 bits matters only if the product ends in a half,
    which a quotient that was rounded down may miss.
    """
    p, q = by
    twice = 2 * side * p + q
    found = quotient(twice, 2 * q)
    return found - ((found * 2 * q == twice) & _misses(side, p, q, 2 * found - 1)).to(torch.int64)


def _misses(side: Tensor, p: Tensor, q: Tensor, halves: Tensor) -> Tensor:
    """Whether ``side * (p / q)`` in double precision is less than what it is exactly, an odd number of halves.

    p / q is rounded to a multiple of 2^(j - 52), with 2^j <= p / q: by c / q of it, where 2^(52 - j) p + c is a
    multiple of q, and |c| < q / 2. The product is then off by ``side c / q 2^(j - 52)``. It is rounded to a multiple of
    2^(m - 52), with 2^m <= product, and to the exact one if that is no further than half a multiple. What is less than
    one half is one half again with the 0.5 that is added.
    """
    p_side, q_side = (torch.tensor([2**max(sign * i, 0) for i in _POWERS]) for sign in (-1, 1))
    j = (p * p_side >= q * q_side).to(torch.int64).sum(0, keepdim=True) + _POWERS[0] - 1
    rest = p % q  # then of 2^(52 - j) p
    powers = torch.tensor([2**i for i in range(29)])
    for start in (0, 28, 56):
        rest = (rest * powers.index_select(0, (52 - j - start).clamp(0, 28))) % q
    c = torch.where(rest * 2 > q, q - rest, -rest)
    m = (halves >= powers).to(torch.int64).sum(0, keepdim=True) - 2
    return (-2 * side * c > q * powers.index_select(0, (m - j).clamp(0, 28))) & (halves > 1)


def positions(old: Tensor, new: Tensor, count: int) -> Tensor:
    """Where the centres of `count` pixels lie on an axis resized from `old` to `new` pixels, in float32 as OpenCV's.

    It is ``(i + 0.5) old / new - 0.5``, to 24 bits; below half a pixel, to a multiple of 2^-24. Just half way between
    two such numbers, which takes thousands of pixels, it is the even one, and OpenCV's may be the other.
    """
    further = (2 * torch.arange(count, device=old.device) + 1) * old + new  # over 2 new, what lies a pixel further
    bits = (quotient(further, 2 * new).unsqueeze(-1) > torch.tensor([2**i for i in range(24)])).to(torch.int64).sum(-1)
    unit = torch.tensor([2**(24 - i) for i in range(25)]).index_select(0, bits)
    rounded = quotient(further * unit + new, 2 * new)
    half = rounded * 2 * new == further * unit + new  # exactly: to the even one
    rounded = rounded - (half & (rounded % 2 == 1)).to(torch.int64) - unit
    return rounded.to(torch.float32) / unit.to(torch.float32)
