#!/usr/bin/env python3
"""Infer on very many images: tools/batch_infer.py CONFIG CHECKPOINT INPUT… --out DIR [options].

Results go to DIR/parts, one file for each shard of images. Run the same command again to go on after it was stopped;
images that can't be read are recorded with the reason. Exit code: 0, every image is done or recorded; 2, wrong usage,
or no image could be used; 130, stopped by Ctrl-C.
"""
import argparse
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, DataError, MissingExtraError

try:
    import torch
    from mmengine.utils import ProgressBar

    from mmvision_mamba.engine import launch
    from mmvision_mamba.inference import Inferencer
    from mmvision_mamba.inference.batch import FORMATS, BatchJob, run_here
    from mmvision_mamba.inference.ray_batch import run_on_ray
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of a detector (mmdet) or segmentor (mmseg)')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, folder (searched recursively), pattern, '
                        'http(s) URL, or a .txt file that lists images, one a line')
    parser.add_argument('--out', required=True, metavar='DIR', help='where results are written')
    parser.add_argument('--format', choices=FORMATS, default='parquet', help='default: %(default)s')
    parser.add_argument('--shard-size', type=int, default=256, metavar='N', help='images a part; default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images per forward; default: 1')
    parser.add_argument('--device', help='without --ray; default: a GPU where there is one')
    parser.add_argument('--ray', nargs='?', const='local', metavar='ADDRESS',
                        help='use Ray Data; without ADDRESS, on this machine; auto: the cluster it is part of')
    parser.add_argument('--workers', type=int, metavar='N',
                        help='with --ray: processes, each with a model and, if there are some, a GPU of its own; '
                        'default: one for each GPU of this machine, else 1')
    launch.add_cfg_options(parser)
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors():
        if args.ray is None and args.workers is not None:
            raise ConfigError('--workers needs --ray')
        if args.ray is not None and args.device is not None:
            raise ConfigError('--device works without --ray; with it each worker has a GPU where there is one')
        if args.batch_size < 1 or (args.workers is not None and args.workers < 1):
            raise ConfigError('--batch-size and --workers take numbers from 1 up')
        model = dict(model=str(Path(args.config).absolute()), cfg_options=args.cfg_options,
                     weights=args.checkpoint if '://' in args.checkpoint else str(Path(args.checkpoint).absolute()))
        # Here, too, with Ray: whatever is wrong with config and checkpoint is told before processes start.
        inferencer = Inferencer(**model, device='cpu' if args.ray else args.device, show_progress=False)
        weights = Path(model['weights'])
        settings = dict(
            config=model['model'], weights=model['weights'], classes=list(inferencer.classes),
            config_sha256=hashlib.sha256(repr(inferencer.model.cfg.model).encode()).hexdigest(),
            weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None)
        job = BatchJob(args.inputs, args.out, settings, args.shard_size, args.format)
        shards = job.start()
        if len(shards) < len(job):
            print(f'{len(job) - len(shards)} of {len(job)} parts are there already')
        if args.ray and shards:
            gpus = torch.cuda.device_count()
            results = run_on_ray(job, model, shards, args.batch_size, args.workers or gpus or 1, float(bool(gpus)),
                                 args.ray)
        else:
            results = run_here(job, inferencer, shards, args.batch_size)
        bar = ProgressBar(sum(len(job.shard(i)) for i in shards), file=sys.stderr) \
            if shards and sys.stderr.isatty() else None
        try:
            for done, failed in results:
                if bar:
                    bar.update(done + failed)
        except KeyboardInterrupt:
            print('stopped; run the same command to go on', file=sys.stderr)
            sys.exit(130)
        failures = job.finish()
        print(f'\n{len(job.names) - len(failures)} images done, {len(failures)} failed: {job.out}'.lstrip())
        for name, reason in failures[:5]:
            print(f'  {name}: {reason}')
        if len(failures) > 5:
            print(f'  … and {len(failures) - 5} more, in the column error' if args.format == 'parquet' else '  …')
        if len(failures) == len(job.names):
            raise DataError('no image could be used')


if __name__ == '__main__':
    main()
