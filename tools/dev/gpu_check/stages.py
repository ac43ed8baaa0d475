"""The stages of the check, in order of worth, and their parts.

A part is a function of a module beside this one: it takes a `Place` and the part's arguments, and returns a dict for
the results. The parts of a lane run one after another in one process; lanes run side by side, each in its own.
"""
import json
from dataclasses import dataclass
from pathlib import Path

from mmvision_mamba.files import replace

_LARGE_DETECTOR = 'cascade_mask_rcnn_mambavision_t_coco'
_DETECTOR = 'cascade_mask_rcnn_mambavision_t_fit_coco'
_LARGE_SEGMENTOR = 'upernet_mambavision_t_ade20k'
_SEGMENTOR = 'upernet_mambavision_t_fit_ade20k'
# What the published code does, the first setting of a group, beside what this package does.
_BOTH = '--backends mamba_ssm auto --amp bf16 --rounds 3'
_ALL = '--backends mamba_ssm chunked auto --amp bf16 --rounds 3'
_PEERS = '--paddings fit --amp bf16 --rounds 3 --peers swin-t convnext-t resnet-50'
# Commands of `mmvision-mamba benchmark`, by the name of their results: shorter ones than in its plan for whole days.
BENCHMARKS = {
    'roofline': 'roofline --dtypes float32 bfloat16 float16',
    # So large that a call takes longer than its launches, and its tensors fill the L2 cache many times.
    'scan': 'scan --shapes 4096,196,160 256,4200,160 --dtypes bfloat16 --backends mamba_ssm chunked triton --rounds 3',
    'mixer': f'mixer --shapes 128,196,320 2,4200,320 2048,196,320 {_ALL}',
    'backbone': f'backbone --sizes 224,224 --batch 128 --paddings zeros {_ALL}',
    'backbone_detection': f'backbone --sizes 800,1344 --batch 2 --windows 112,56 --paddings zeros fit {_BOTH}',
    'peers': f'backbone --sizes 224,224 --batch 128 {_PEERS}',
    'peers_detection': f'backbone --sizes 800,1344 --batch 2 --windows 112,56 {_PEERS}',
    'backbone_512': f'backbone --sizes 512,512 --batch 8 --paddings zeros fit {_BOTH}',
    'detector': f'detector {_LARGE_DETECTOR} {_DETECTOR} --amp bf16 --rounds 3',
    'segmentor_4': f'segmentor {_LARGE_SEGMENTOR} {_SEGMENTOR} --train-batch 4 --amp bf16 --rounds 3',
    'variants': 'backbone --sizes 224,224 --batch 1 128 --paddings fit --amp bf16 --fuse --cuda-graphs --no-training',
    'profile': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --profile --no-training --rounds 1',
    'detector_profile': f'detector {_DETECTOR} --amp bf16 --profile --no-training --rounds 1',
    'segmentor_profile': f'segmentor {_SEGMENTOR} --amp bf16 --profile --no-training --rounds 1',
    'compiled': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --compile --rounds 3',
}
DTYPES = ('float32', 'bfloat16', 'float16')
SO_FAR = 'so_far.json'


@dataclass(frozen=True)
class Place:
    """Where a part runs.

    Args:
        device: 'cuda', or 'cpu' in a dry run.
        folder: for its files.
        small: whether sizes are to be too small to mean anything, as in a dry run.
    """
    device: str
    folder: Path
    small: bool = False

    def keep(self, found: dict) -> dict:
        """Leave what the part has found so far, where it is looked for if the part does not end. Returns it."""
        so_far = self.folder / SO_FAR
        replace(so_far, lambda temporary: temporary.write_text(json.dumps(found, default=str)))
        return found


@dataclass(frozen=True)
class Part:
    """A step of a stage, which can fail alone.

    Args:
        name: of its results.
        function: MODULE:FUNCTION.
        seconds: after which it is ended.
        arguments: what the function takes beside the place.
    """
    name: str
    function: str
    seconds: float = 60.
    arguments: tuple = ()


def _benchmark(name: str, seconds: float) -> Part:
    return Part(name, 'benchmarks:measured', seconds, (name,))


@dataclass(frozen=True)
class Stage:
    """A stage: what it finds out, the seconds that are its own, its lanes, and which call it is of."""
    what: str
    seconds: float
    lanes: tuple[tuple[Part, ...], ...]
    call: int = 1


STAGES = {
    'machine': Stage('versions, clocks, rates of copies and products', 45, (
        (Part('versions', 'machine:versions', 30), _benchmark('roofline', 40)),)),
    'kernels': Stage('kernels against float64, golden numbers, mmcv operators', 120, (
        *((Part(f'{kernel}_{dtype}', f'kernels:{kernel}', 115, (dtype,)),)
          for kernel in ('scan', 'mixer') for dtype in DTYPES),
        tuple(Part(f'convolution_{dtype}', 'kernels:convolution', 60, (dtype,)) for dtype in DTYPES),
        (Part('golden', 'kernels:golden', 60), Part('operators', 'kernels:operators', 60)),
        (Part('tests', 'machine:tests', 115),))),
    'speed': Stage("scan, mixer, backbone beside the plain path with mamba-ssm's scan, and other backbones", 120, (
        tuple(_benchmark(name, 60) for name in (
            'scan', 'backbone', 'backbone_detection', 'mixer', 'peers', 'peers_detection', 'backbone_512')),)),
    'models': Stage('whole models: training steps, latency, memory, where the time goes', 120, (
        (Part('detector_steps', 'models:steps', 60, ('detector', _DETECTOR, (800, 1344), 2)),
         Part('segmentor_steps', 'models:steps', 60, ('segmentor', _SEGMENTOR, (512, 512), 4)),
         _benchmark('detector', 60), _benchmark('segmentor_4', 60)),)),
    'demo': Stage("the demo's detector and segmentor, trained to the end", 120, (
        (Part('demo', 'models:demo', 400),),)),
    'second': Stage('CUDA graphs, torch.compile, shares of the time', 220, (
        (_benchmark('variants', 60), _benchmark('compiled', 140), _benchmark('profile', 40),
         _benchmark('detector_profile', 60), _benchmark('segmentor_profile', 60)),), call=2),
    'tensorrt': Stage('engines of TensorRT, where that is installed: verified and timed', 220, (
        (Part('engine_backbone', 'engines:engine', 120, ('backbone', _SEGMENTOR, (512, 512))),
         Part('engine_segmentor', 'engines:engine', 150, ('segmentor', _SEGMENTOR, (512, 512))),
         Part('engine_segmentor_half', 'engines:engine', 150, ('segmentor', _SEGMENTOR, (512, 512), True)),
         Part('engine_detector', 'engines:engine', 300, ('detector', _DETECTOR, (512, 512)))),), call=3),
}
PARTS = {part.name: part for stage in STAGES.values() for lane in stage.lanes for part in lane}
