"""Convolution at some places alone: their patches become columns, and the columns of results a map again."""
import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor, kernel_h: int, kernel_w: int,
                          pad_h: int, pad_w: int) -> None:
    """Fill `col` (C · kH · kW, M) with the patches of `im` (1, C, H, W), padded by zeros, at rows and columns (M,)."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col[:] = padded[:, rows, columns].reshape(col.shape)


def masked_col2im_forward(col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int,
                          channels: int) -> None:
    """Write `col` (C, M) to the rows and columns (M,) of `im` (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)
