#!/usr/bin/env python3
"""Test a model of any config: tools/test.py CONFIG CHECKPOINT [options]. Writes WORK_DIR/metrics.json."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import MissingExtraError

try:
    from mmvision_mamba.engine import launch, testing  # importing the package registers what configs name
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(description='Test a detector, a segmentor or a classifier.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    launch.add_common_options(parser)
    parser.add_argument('--out', help='keep predictions: mmseg configs, a folder of PNGs; others, a .pkl file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a picture is shown; default: 2')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: scales and flips, masks merged too')
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors() as job:
        cfg = launch.load_config(args, 'test_dataloader')
        cfg.load_from, cfg.resume = args.checkpoint, False
        testing.show_predictions(cfg, args.show, args.show_dir, args.wait_time)
        if args.tta:
            testing.use_tta(cfg)
        launch.add_hooks(cfg, dict(type='CheckpointFitHook'))
        launch.prepare_device(cfg)
        launch.prepare_data(cfg, ('test',), args.skip_bad_images)
        job.work_dir = cfg.work_dir
        if args.out:
            testing.check_out(cfg, args.out)
        job.runner = launch.build_runner(cfg)
        if args.out:
            testing.keep_predictions(cfg, job.runner, args.out)
        testing.write_metrics(job.runner.test(), cfg.work_dir)


if __name__ == '__main__':
    main()
