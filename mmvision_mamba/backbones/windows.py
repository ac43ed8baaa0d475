"""Rectangular windows: a map becomes sequences, and sequences a map again."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PADDINGS = ('zeros', 'fit')


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
        """Windows for a map.

        Args:
            height, width: of the map.
            size: the window's side; None: one window, the whole map.
            padding: 'zeros': square windows of `size`, the map padded to a multiple of it (the published behaviour).
                'fit': per axis as many windows as `size` asks for, all equal, as small as covers the map.
        """
        if size is None:
            return cls(height, width, 1, 1, height, width)
        rows, columns = math.ceil(height / size), math.ceil(width / size)
        if padding == 'zeros':
            return cls(height, width, rows, columns, size, size)
        return cls(height, width, rows, columns, math.ceil(height / rows), math.ceil(width / columns))

    @property
    def padded(self) -> tuple[int, int]:
        return self.rows * self.window_height, self.columns * self.window_width

    def partition(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch · windows, tokens, channels), zeros right and below."""
        pad_height, pad_width = self.padded[0] - self.height, self.padded[1] - self.width
        if pad_height or pad_width:
            x = F.pad(x, (0, pad_width, 0, pad_height))
        if self.rows == self.columns == 1:
            return x.flatten(2).transpose(1, 2)
        x = x.unflatten(3, (self.columns, self.window_width)).unflatten(2, (self.rows, self.window_height))
        return x.permute(0, 2, 4, 3, 5, 1).flatten(0, 2).flatten(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """The inverse of `partition`, padding cropped."""
        channels = x.shape[-1]
        if self.rows == self.columns == 1:
            x = x.transpose(1, 2).unflatten(2, self.padded)
        else:
            x = x.reshape(-1, self.rows, self.columns, self.window_height, self.window_width, channels)
            x = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return x[:, :, :self.height, :self.width]

    def mask(self, batch: int, device: torch.device) -> Tensor | None:
        """Bool ``(batch · windows, tokens)``, True at the map's own tokens; None where there is no padding."""
        if self.padded == (self.height, self.width):
            return None
        own = torch.ones(1, 1, self.height, self.width, dtype=torch.bool, device=device)
        return self.partition(own).squeeze(-1).repeat(batch, 1)
