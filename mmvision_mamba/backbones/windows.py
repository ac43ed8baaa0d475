"""Rectangular windows: a map becomes sequences, and sequences a map again."""
from dataclasses import dataclass

import torch
from torch import Tensor


def _ceil_div(a: int, b: int) -> int:
    return (a + b - 1) // b  # takes symbols too, while a graph is exported


@dataclass(frozen=True)
class Windows:
    """How a map of ``height × width`` is cut into ``rows × columns`` windows of ``window_height × window_width``."""
    height: int
    width: int
    rows: int
    columns: int
    window_height: int
    window_width: int

    @classmethod
    def plan(cls, height: int, width: int, size: int | None, padding: str) -> 'Windows':
        """Plan the windows of a map.

        Args:
            height, width: of the map.
            size: the window's side; None: one window, the whole map.
            padding: 'zeros': square windows of `size`, the map padded to a multiple of it (the published behaviour).
                'fit': per axis as many windows as `size` asks for, all equal, and as small as possible while covering
                the map.
        """
        if size is None:
            return cls(height, width, 1, 1, height, width)
        rows, columns = _ceil_div(height, size), _ceil_div(width, size)
        if padding == 'zeros':
            return cls(height, width, rows, columns, size, size)
        return cls(height, width, rows, columns, _ceil_div(height, rows), _ceil_div(width, columns))

    @property
    def tokens(self) -> int:
        """Tokens in one window."""
        return self.window_height * self.window_width

    def real(self, batch: int, device: torch.device) -> Tensor | None:
        """Flat indices of the real tokens (not padding) among all window tokens, in row-major order.

        int64 ``(batch · height · width,)``; None where there is no padding.
        """
        if (self.rows * self.window_height, self.columns * self.window_width) == (self.height, self.width):
            return None
        images, y, x = (torch.arange(n, device=device) for n in (batch, self.height, self.width))
        images = images * (self.rows * self.columns * self.tokens)
        y = y // self.window_height * (self.columns * self.tokens) + y % self.window_height * self.window_width
        x = x // self.window_width * self.tokens + x % self.window_width
        return (images[:, None, None] + y[:, None] + x).flatten()

    def mask(self, real: Tensor, batch: int) -> Tensor:
        """Bool ``(batch · windows, tokens)``, True at the `real` tokens."""
        mask = torch.zeros(batch * self.rows * self.columns * self.tokens, dtype=torch.bool, device=real.device)
        return mask.index_put((real,), mask.new_ones(())).unflatten(0, (-1, self.tokens))

    def partition(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(batch, channels, height, width) -> (batch · windows, tokens, channels), zeros right and below.

        `real` comes from the method of that name. In channels-last memory the result is a view if one window is
        the whole map, else a copy.
        """
        x = x.permute(0, 2, 3, 1)
        if real is not None:
            windows = x.new_zeros(x.shape[0] * self.rows * self.columns * self.tokens, x.shape[-1])
            return windows.index_copy(0, real, x.flatten(0, 2)).unflatten(0, (-1, self.tokens))
        x = x.reshape(-1, self.rows, self.window_height, self.columns, self.window_width, x.shape[3])
        return x.transpose(2, 3).reshape(-1, self.tokens, x.shape[5])

    def merge(self, x: Tensor, real: Tensor | None) -> Tensor:
        """The inverse of `partition`, padding cropped; in channels-last memory."""
        if real is not None:
            x = x.flatten(0, 1).index_select(0, real).unflatten(0, (-1, self.height, self.width))
        else:
            x = x.reshape(-1, self.rows, self.columns, self.window_height, self.window_width, x.shape[2])
            x = x.transpose(2, 3).reshape(-1, self.height, self.width, x.shape[5])
        return x.permute(0, 3, 1, 2)
