"""Bilinear samples of a map, one at a time, as the papers write them."""
import math


def bilinear(plane, y, x):
    """A sample of a plane (H, W) that is 0 beyond its pixels."""
    top, left = math.floor(y), math.floor(x)
    found = 0.
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                found += (1 - abs(y - row)) * (1 - abs(x - column)) * float(plane[row, column])
    return found


def bilinear_near(plane, y, x):
    """A sample of a plane (H, W) that goes on for a pixel as it is at its border, and is 0 from there on."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.
    return bilinear(plane, min(max(y, 0), height - 1), min(max(x, 0), width - 1))
