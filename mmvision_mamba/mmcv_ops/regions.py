"""Features of regions of interest.

Regions are (K, 5): the image's index in the batch, then x1, y1, x2, y2, times `spatial_scale` in pixels of the map.
mmcv's Python allocates the outputs, which are filled here: a hundredth of the time goes into that copy, and compilers
drop it. Halves are computed in float32, but for float16 on GPUs, for which torchvision has kernels.
"""
from concurrent.futures import ThreadPoolExecutor

import torch
import torchvision  # noqa: F401  registers the operators
from torch import Tensor

from ..errors import MissingOperatorError
from . import COMPILED_MMCV
from .precision import computed_in

OUTSIDE = -1e4  # pixels of the image
CHANNELS = 32  # that a thread takes at a time: their maps stay in its core's cache
# Numbers up to which PyTorch fills a tensor with one thread: more, and each thread here would start a team of its own.
GRAIN = 32768


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor,
                      aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """RoIAlign (arXiv 1703.06870).

    Args:
        input: maps, (B, C, H, W).
        rois: (K, 5).
        output: (K, C, aligned_height, aligned_width), to be filled.
        argmax_y: of mode max.
        argmax_x: of mode max.
        sampling_ratio: samples per side of a bin; 0 or less: as many as the region has pixels there.
        pool_mode: 1, average; 0, max, needs compiled mmcv: no config of mmdet or mmseg has it.
        aligned: whether pixels' centres are at half-integer coordinates.

    Raises:
        MissingOperatorError: mode max.
    """
    _check_averages(pool_mode)
    dtype = computed_in(input, float16_on_gpus=True)
    settings = spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
    maps, regions = input.to(dtype), _within_reach(rois.to(dtype))
    if _wants_threads(output):
        _roi_align_by_threads(maps, regions, output, *settings)
    else:
        output[:] = torch.ops.torchvision.roi_align(maps, regions, *settings)


def _wants_threads(output: Tensor) -> bool:
    """Whether to share the work out. A trace is a thread's own: what others do would be missing in it."""
    return (not torch.compiler.is_compiling() and not torch.jit.is_tracing() and type(output) is Tensor
            and output.device.type == 'cpu' and output.numel() > GRAIN and torch.get_num_threads() > 1)


def _roi_align_by_threads(maps: Tensor, regions: Tensor, output: Tensor, scale: float, height: int, width: int,
                          *settings) -> None:
    """torchvision's RoIAlign, bit for bit: its kernel for CPUs keeps to one thread. Parts of channels and regions."""
    channels = max(1, min(CHANNELS, GRAIN // (height * width)))
    count = max(1, GRAIN // (channels * height * width))
    jobs = [(part, *pair) for part, out in zip(map(Tensor.contiguous, maps.split(channels, 1)),
                                               output.split(channels, 1))
            for pair in zip(regions.split(count), out.split(count))]
    inference = torch.is_inference_mode_enabled()  # a thread's own, too

    def run(job: tuple[Tensor, Tensor, Tensor]) -> None:
        part, some, out = job
        with torch.inference_mode(inference), torch.no_grad():
            out.copy_(torch.ops.torchvision.roi_align(part, some, scale, height, width, *settings))
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in threads.map(run, jobs):  # raises what a thread raised
            pass


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Fill `grad_input`, (B, C, H, W); the others are as for `roi_align_forward`."""
    _check_averages(pool_mode)
    dtype = computed_in(grad_output, float16_on_gpus=True)
    grad_input[:] = torch.ops.torchvision._roi_align_backward(
        grad_output.to(dtype), _within_reach(rois.to(dtype)), spatial_scale, aligned_height, aligned_width,
        *grad_input.shape, sampling_ratio, aligned)


def roi_pool_forward(input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int,
                     pooled_width: int, spatial_scale: float) -> None:
    """RoIPool (arXiv 1504.08083): the largest number of each bin.

    Args:
        input: maps, (B, C, H, W).
        rois: (K, 5).
        output: (K, C, pooled_height, pooled_width), to be filled.
        argmax: as large, to be filled with the places of these numbers in H · W; -1: the bin is empty.
    """
    dtype = computed_in(input, float16_on_gpus=True)
    pooled, places = torch.ops.torchvision.roi_pool(
        input.to(dtype), rois.to(dtype), spatial_scale, pooled_height, pooled_width)
    output[:] = pooled
    argmax[:] = places


def roi_pool_backward(grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor, pooled_height: int,
                      pooled_width: int, spatial_scale: float) -> None:
    """Fill `grad_input`, (B, C, H, W); the others are as for `roi_pool_forward`."""
    dtype = computed_in(grad_output, float16_on_gpus=True)
    grad_input[:] = torch.ops.torchvision._roi_pool_backward(
        grad_output.to(dtype), rois.to(dtype), argmax, spatial_scale, pooled_height, pooled_width,
        *grad_input.shape)


def _within_reach(rois: Tensor) -> Tensor:
    """The regions; those that aren't finite outside of every map: at them, torchvision's kernel for CPUs crashes."""
    if rois.device.type != 'cpu':
        return rois
    return torch.where(rois.isfinite().all(dim=1, keepdim=True), rois, rois.new_tensor((0, *4 * (OUTSIDE,))))


def _check_averages(pool_mode: int) -> None:
    if pool_mode != 1:
        raise MissingOperatorError("RoIAlign with pool_mode='max' has no form in PyTorch here.\n"
                                   f"Use 'avg', or compiled mmcv: {COMPILED_MMCV}")
