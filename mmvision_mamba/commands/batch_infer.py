"""Infer on very many images, part by part; a run that was stopped can go on.

Results go to DIR/parts, one file for each shard of images. After a stop, run the same command again to go on;
images that can't be read are recorded with the reason. Exit code: 0, every image is done or recorded; 2, wrong usage,
or no image could be used; 130, stopped by Ctrl-C.
"""
import argparse
import sys
from pathlib import Path

from .. import mmcv_ops
from ..allocator import keep_freed_memory
from ..configs import find_config, is_exported
from ..errors import ConfigError, DataError
from ..inference import BATCH_FORMATS
from ..limits import check_workers
from ..printable import shown
from .options import add_cfg_options, add_dtype, add_model_and_inputs, model_and_inputs, number_or_auto


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_and_inputs(parser, 'image, folder (searched recursively), pattern, http(s) URL, or a .txt file that '
                         'lists images, one a line')
    parser.add_argument('--out', required=True, metavar='DIR', help='where results are written')
    parser.add_argument('--format', choices=list(BATCH_FORMATS), default='parquet', help='default: %(default)s')
    parser.add_argument('--shard-size', type=int, default=256, metavar='N', help='images a part; default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images per forward; default: 1')
    parser.add_argument('--score-thr', type=number_or_auto, metavar='SCORE|auto', help='keep the instances whose score '
                        'is higher; auto: than the best threshold of their class, from the report beside the '
                        'checkpoint; default: keep all')
    parser.add_argument('--tile', type=int, metavar='N', help='read images of any size by windows of N × N pixels, '
                        'with --ray spread over the workers; default: images are read as a whole')
    parser.add_argument('--overlap', type=float, metavar='SHARE', help='with --tile: of neighbouring windows, 0 to '
                        '0.5; default: 0.2')
    parser.add_argument('--device', help='without --ray; default: a GPU where there is one')
    add_dtype(parser)
    parser.add_argument('--ray', nargs='?', const='local', metavar='ADDRESS',
                        help='use Ray Data; without ADDRESS, on this machine; auto: the cluster it is part of')
    parser.add_argument('--workers', type=int, metavar='N',
                        help='with --ray: processes, each with a model and, if there are some, a GPU of its own; '
                        'default: one for each GPU of this machine, else 1')
    parser.add_argument('--hash-images', action='store_true', help='tell by their content, which is read for it, '
                        'whether images have changed since a run was stopped; default: by size and time')
    parser.add_argument('--retry-failed', action='store_true', help='do parts in which an image failed again, such as '
                        'one at a URL that was not to be reached; default: what failed stays so')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> int | None:
    import torch

    from ..checkpoints.local_files import digest, is_remote, local_file
    from ..inference import Inferencer
    from ..inference.batch import BatchJob
    from ..inference.batch_settings import settings_of
    from ..inference.precision import check_dtype
    from ..inference.tiled_batch import TiledBatchJob
    from ..inference.toolboxes import check_dense

    tiling = _check_options(args)
    config, checkpoint, inputs = model_and_inputs(args)
    model = dict(model=config, weights=checkpoint, cfg_options=args.cfg_options)
    if checkpoint is None or is_exported(checkpoint):
        from ..inference.exported import digest_of
        weights = str(Path(checkpoint or config).absolute())
        weights_sha256 = digest_of(weights)
        model['model' if checkpoint is None else 'weights'] = weights
    else:
        weights = checkpoint if is_remote(checkpoint) else str(Path(checkpoint).absolute())
        weights_sha256 = digest(local_file(weights))
        # With its hash, for a training may write another file there before this process, or a worker, reads it.
        model['weights'] = f'{weights.partition("#sha256=")[0]}#sha256={weights_sha256}'
    if checkpoint is not None:
        model['model'] = str(find_config(config).absolute())
    if args.ray:  # then workers infer. Errors in config and checkpoint are reported before any process starts
        check_dtype(args.dtype, 'cuda' if torch.cuda.device_count() else 'cpu')
        inferencer = Inferencer(**model, device='cpu', show_progress=False)
    else:
        inferencer = Inferencer(**model, device=args.device, show_progress=False, dtype=args.dtype)
        keep_freed_memory(inferencer.device)
    check_dense(inferencer.scope, 'batch-infer')
    model['dtype'] = args.dtype
    settings = settings_of(inferencer, args.dtype, weights_sha256, args.batch_size, mmcv_ops.source().kind,
                           dict(config=model['model'], weights=weights), args.score_thr)
    more = (inputs, args.out, settings, args.shard_size, args.format, inferencer.ids, args.hash_images)
    if tiling is None:
        job = BatchJob(*more)
    else:
        settings.update(tile=tiling.tile, overlap=tiling.overlap)
        job = TiledBatchJob(*more, tiling=tiling, inferencer=inferencer)
    with job.hold():
        return _run(args, job, model, inferencer)


def _run(args: argparse.Namespace, job, model: dict, inferencer) -> int | None:
    from ..inference.batch import run_here
    from ..inference.tiled_batch import TiledBatchJob, assembled
    shards = job.start(args.retry_failed)
    if len(shards) < len(job):
        print(f'{len(job) - len(shards)} of {len(job)} parts are there already')
    workers, gpus = _workers(args)
    tasks = job.tasks(shards, workers)
    if args.ray and tasks:
        from ..inference.ray_batch import run_on_ray
        results = run_on_ray(job, model, tasks, args.batch_size, workers, gpus, args.ray)
    else:
        results = run_here(job, inferencer, tasks, args.batch_size)
    if isinstance(job, TiledBatchJob):
        results = assembled(job, results, shards)
    try:
        _follow(results, sum(len(job.shard(i)) for i in shards))
    except KeyboardInterrupt:
        print('stopped; run the same command to go on', file=sys.stderr)
        return 130
    _report(job, job.finish())
    return None


def _check_options(args: argparse.Namespace):
    """Check options that need no model; returns how pictures are cut, None where they aren't."""
    if args.ray is None and args.workers is not None:
        raise ConfigError('--workers needs --ray')
    if args.ray is not None and args.device is not None:
        raise ConfigError('--device works without --ray; with it each worker has a GPU where there is one')
    if args.batch_size < 1 or (args.workers is not None and args.workers < 1):
        raise ConfigError('--batch-size and --workers take numbers from 1 up')
    if args.ray == 'local':
        check_workers(args.workers or 1, '--workers')
    if args.tile is None:
        if args.overlap is not None:
            raise ConfigError('--overlap needs --tile, the side of the windows that overlap')
        return None
    from ..datasets.tile_grid import DEFAULT_OVERLAP, Tiling
    return Tiling(args.tile, DEFAULT_OVERLAP if args.overlap is None else args.overlap)


def _workers(args: argparse.Namespace) -> tuple[int, float]:
    """(number of processes, GPUs for each)."""
    if not args.ray:
        return 1, 0.
    import torch
    gpus = torch.cuda.device_count()
    return args.workers or gpus or 1, float(bool(gpus))


def _follow(results, images: int) -> None:
    """Wait for the results, with a progress bar on a terminal."""
    from mmengine.utils import ProgressBar
    bar = ProgressBar(images, file=sys.stderr) if images and sys.stderr.isatty() else None
    for _, done, failed in results:
        if bar:
            bar.update(done + failed)


def _report(job, failures: list[tuple[str, str]]) -> None:
    print(f'\n{len(job.names) - len(failures)} images done, {len(failures)} failed: {shown(job.out)}'.lstrip())
    for name, reason in failures[:5]:
        print(f'  {shown(name)}: {shown(reason)}')
    if len(failures) > 5:
        print(f'  … and {len(failures) - 5} more, in the column error' if job.format == 'parquet' else '  …')
    if len(failures) == len(job.names):
        raise DataError('no image could be used')
