"""Export a detector, a segmentor or its backbone.

Checks the file against PyTorch before it gets its name: a file that differs is not kept, and the exit code is 1.
"""
import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, require
from ..export import BATCH, FORMATS, INT8_IMAGES, INT8_KINDS, OF_ONNX, OPSET, OUTPUTS, PARTS, REPOSITORY
from ..files import check_output
from ..printable import shown
from .options import CHECKPOINT, add_cfg_options

if TYPE_CHECKING:
    from ..export.triton import Repository
    from .steps.export_all import Made

SCOPES = dict(mmseg='segmentor', mmdet='detector')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help=CHECKPOINT)
    parser.add_argument('--format', choices=[*FORMATS, REPOSITORY],
                        help=f'default: onnx; {REPOSITORY}: a folder for NVIDIA Triton, from an image of any size to '
                        'the result')
    parser.add_argument('--all', action='store_true', help='make every format there is, in the folder --out, and print '
                        "a table: size, time, metric on the config's test data, checks; why some are not made")
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'), default=(512, 512),
                        help='height and width of the images; with an open size, of the example. Default: 512 512')
    parser.add_argument('--batch', type=int, metavar='N',
                        help=f'images in a batch, of {REPOSITORY} at most; default: 1, and {BATCH} there')
    parser.add_argument('--dynamic', nargs='?', const='all', choices=['all', 'batch'],
                        help='leave the number of images, their height and their width open; "batch": their number '
                        'alone')
    parser.add_argument('--part', choices=PARTS, help="default: the config's whole model, segmentor or detector")
    parser.add_argument('--output', choices=OUTPUTS,
                        help='of a segmentor: the map of labels, or logits. Default: map')
    parser.add_argument('--fp16', action='store_true', help='float16 weights and arithmetic, the scan in float32; '
                        'inputs and outputs stay float32. Of --format openvino and mnn the weights alone')
    parser.add_argument('--int8', nargs='?', const='static', choices=INT8_KINDS,
                        help="int8 weights, for onnxruntime, OpenVINO and MNN. static (without a value): activations "
                        "too, calibrated on the config's training images; dynamic, for onnxruntime: linear layers "
                        "alone; weights, for MNN: the weights, which it computes with in float. "
                        'Kept only if mIoU or AP on its test images falls by a point at most, of a backbone if its '
                        'features change by a tenth at most; layers go back to float for that')
    parser.add_argument('--int8-images', type=int, nargs=2, metavar=('CALIBRATION', 'TEST'),
                        help='how many images of the data sets --int8 uses; default: '
                        + ' '.join(map(str, INT8_IMAGES)))
    parser.add_argument('--simplify', action='store_true', help='have onnxslim shrink the ONNX graph')
    parser.add_argument('--with-preprocess', action='store_true', help='take one RGB image (h, w, 3) uint8 of any '
                        'size, and resize, pad and normalise it in the graph; maps and masks come in its own size')
    parser.add_argument('--verify', action='store_true',
                        help='print the checks, line by line; they are made without this too')
    parser.add_argument('--images', nargs='+', metavar='IMAGE',
                        help='check on these photos, besides noise and generated pictures; default: two of the '
                        "config's test data, where it is there")
    parser.add_argument('--opset', type=int, default=OPSET, metavar='N', help='opset of ONNX; default: %(default)s')
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='default: work_dirs/CONFIG_NAME/PART.onnx (.pt2, .pt, .xml, .mnn); with --all a folder, '
                        'work_dirs/CONFIG_NAME/exported')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.batch is None:
        args.batch = BATCH if args.format == REPOSITORY else 1
    if args.all:
        from . import call
        from .steps.export_all import export_all
        return export_all(args, _export, partial(call, 'test'))
    args.format = args.format or 'onnx'
    _export(args)
    return 0


def _export(args: argparse.Namespace) -> 'Made':
    """Write one file; returns what it is."""
    from ..export.job import about_file, build_model
    from ..export.parts import build_exportable
    from ..export.verify import table
    from ..inference.class_meta import dataset_meta, reduces_zero_label
    from ..preflight.check_data import check_datasets
    from ..preflight.read import read_config
    from .steps.export_all import Made

    _check_options(args)
    cfg = read_config(args.config, args.cfg_options, trained=True)
    part = _part(args, cfg.default_scope)
    name = 'triton' if args.format == REPOSITORY else f'{part}{FORMATS[args.format]}'
    path = args.out or Path('work_dirs') / Path(args.config).stem / name
    _check_part_options(args, part, path)
    repository = None
    if args.format == REPOSITORY:
        repository, args = _repository(args, path)
    else:
        check_output(path, '--out')
    model, checkpoint = build_model(cfg, args.checkpoint)
    meta = dataset_meta(model, cfg, checkpoint.get('meta', {}) if isinstance(checkpoint, dict) else {})
    meta['reduce_zero_label'] = reduces_zero_label(cfg)
    exportable = build_exportable(model, part, args.output or 'map')
    job = _job_class(part)(exportable, model, args, cfg, meta, repository)
    if args.int8:
        check_datasets(cfg, ('train', 'test'))
    try:
        rows = job.write(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk names no file
    if args.verify:
        print(table(rows))
    if job.int8:
        print(job.int8)
    about = f'the models of {repository.name}' if repository else about_file(path, args.format, model, part)
    print(f'{shown(path)}: {about}; {len(rows)} checks passed')
    return Made(part, path, len(rows))


def _repository(args: argparse.Namespace, path: Path) -> tuple['Repository', argparse.Namespace]:
    """The repository to write, and the options of its graphs: of ONNX, one image in."""
    from ..export.triton import Repository, check_folder
    repository = Repository(Path(args.config).stem, args.batch, args.opset, args.simplify)
    check_folder(path, repository.name)
    return repository, argparse.Namespace(**{**vars(args), 'format': 'onnx', 'batch': 1, 'with_preprocess': True})


def _part(args: argparse.Namespace, scope: str) -> str:
    """The part to export: --part, or the whole model of the config's toolbox."""
    part = args.part or SCOPES.get(scope)
    if part is None or (part != 'backbone' and SCOPES.get(scope) != part):
        raise ConfigError(f'--part {part or ""}: {args.config} is of {scope}: '
                          f'{SCOPES.get(scope, "only its backbone")} or backbone')
    return part


def _job_class(part: str) -> type:
    """`Export`, or for a detector its subclass, whose module needs mmdet."""
    if part == 'detector':
        from ..export.detector_job import DetectorExport
        return DetectorExport
    from ..export.job import Export
    return Export


def _check_options(args: argparse.Namespace) -> None:
    if max(args.shape) > 2**16:
        raise ConfigError(f'--shape {args.shape[0]} {args.shape[1]}: at most {2**16} pixels a side')
    if min(args.shape) < 32:
        raise ConfigError(f'--shape {args.shape[0]} {args.shape[1]}: MambaVision takes images of 32 pixels or more on '
                          'each side')
    if args.batch < 1:
        raise ConfigError(f'--batch must be at least 1, got {args.batch}')
    if args.format not in (*OF_ONNX, REPOSITORY) and (args.simplify or args.opset != OPSET):
        raise ConfigError('--simplify and --opset are for --format onnx, openvino and mnn')
    if args.opset < 17 or args.opset > 20:
        raise ConfigError(f'--opset: 17 to 20, got {args.opset}')
    if args.format == REPOSITORY and args.dynamic:
        raise ConfigError(f'--format {REPOSITORY} takes images of any size, and up to --batch of them together: it '
                          'goes without --dynamic')
    if args.format in ('torch-export', 'aot-inductor') and args.dynamic == 'all':
        raise ConfigError(f'--format {args.format}: torch.export makes a constant of whether a side has one window or '
                          'several, so height and width can not be left open; use --dynamic batch, or --format onnx or '
                          'torchscript')
    if args.with_preprocess and args.format not in (*OF_ONNX, 'torchscript', REPOSITORY):
        raise ConfigError('--with-preprocess: graphs of images of any size are for --format onnx, torchscript, '
                          'openvino and mnn')
    if args.with_preprocess and args.format != REPOSITORY and (args.batch != 1 or args.dynamic):
        raise ConfigError('--with-preprocess takes one image of any size: it does not go with --batch and --dynamic')
    if args.int8 and (args.format not in OF_ONNX or args.fp16 or args.with_preprocess
                      or args.dynamic == 'all' or args.output == 'logits'):
        raise ConfigError('--int8 is for --format onnx, openvino and mnn with --output map, of one height and '
                          'width, without --fp16 and --with-preprocess')
    kinds = dict(onnx=('static', 'dynamic'), openvino=('static',), mnn=('weights',)).get(args.format, ())
    if args.int8 and args.int8 not in kinds:
        raise ConfigError(f'--int8 {args.int8} is not for --format {args.format}: use --int8 {" or ".join(kinds)}')
    if args.int8_images and not args.int8:
        raise ConfigError('--int8-images goes with --int8')
    if args.int8_images and min(args.int8_images) < 1:
        raise ConfigError('--int8-images must be at least 1 each')
    if args.format in (*OF_ONNX, REPOSITORY):
        require(f'--format {args.format}', 'export', 'onnx', 'onnxruntime', *(['onnxslim'] if args.simplify else []))
    if args.format == 'mnn':
        from ..runtime.mnn_files import require_mnn
        require_mnn('--format mnn')
    if args.format == 'openvino':
        require('--format openvino', 'openvino', 'openvino')
        if args.int8:
            from ..export.quantize import require_nncf
            require_nncf()


def _check_part_options(args: argparse.Namespace, part: str, path: Path) -> None:
    from ..runtime.openvino_files import is_graph
    if args.format != REPOSITORY and (path.is_dir() or path.suffix != FORMATS[args.format]):
        raise ConfigError(f'--out: a {FORMATS[args.format]} file, got {path}')
    if args.format == 'openvino' and path.with_suffix('.bin').exists() and not (path.is_file() and is_graph(path)):
        raise ConfigError(f"--out: the weights go to '{shown(path.with_suffix('.bin'))}', where another file lies: "
                          'choose another name')
    if args.output and part != 'segmentor':
        raise ConfigError(f'--output {args.output} is for a segmentor, and this is a {part}')
