#!/usr/bin/env python3
"""Draw what is taken for what, and the AP or IoU of each class: tools/confusion.py CONFIG PREDICTIONS|CHECKPOINT.

Writes confusion_matrix.png, per_class.png and confusion.json. Detections are matched with objects by their boxes' IoU,
one to one; what is left over is background.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError

try:
    from mmvision_mamba.engine import confusion, launch, testing  # registers what configs name
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)

from mmvision_mamba.files import replace
from mmvision_mamba.visualization.confusion import draw_confusion, draw_per_class


def share(text):
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of a detector or segmentor')
    parser.add_argument('predictions', metavar='PREDICTIONS|CHECKPOINT',
                        help="what tools/test.py --out kept (a detector's .pkl, a segmentor's folder of PNGs), or a "
                        'checkpoint, which is tested first')
    parser.add_argument('--out-dir', type=Path, help='default: WORK_DIR/confusion')
    parser.add_argument('--score-thr', type=share, default=0.3, metavar='SCORE',
                        help='leave out detections with a lower score (default: %(default)s)')
    parser.add_argument('--tp-iou-thr', type=share, default=0.5, metavar='IOU',
                        help='least IoU of a detection and its object (default: %(default)s)')
    launch.add_common_options(parser)
    return launch.parse_args(parser)


def test(cfg, args, job):
    """Test the checkpoint; returns the predictions' path, in the output folder."""
    out = str(args.out_dir / ('predictions.pkl' if cfg.default_scope == 'mmdet' else 'predictions'))
    cfg.load_from, cfg.resume = args.predictions, False
    launch.add_hooks(cfg, dict(type='CheckpointFitHook'))
    launch.prepare_device(cfg)
    testing.check_out(cfg, out)
    job.runner = launch.build_runner(cfg)
    testing.keep_predictions(cfg, job.runner, out)
    testing.write_metrics(job.runner.test(), cfg.work_dir)
    job.work_dir = cfg.work_dir  # what is there by now stays, whatever comes
    return out


def main():
    args = parse_args()
    with launch.user_errors() as job:
        cfg = launch.load_config(args, 'test_dataloader')
        if cfg.default_scope not in ('mmdet', 'mmseg'):
            raise ConfigError(f'{args.config}: expected a config of mmdet or mmseg, got one of {cfg.default_scope!r}')
        args.out_dir = args.out_dir or Path(cfg.work_dir) / 'confusion'
        launch.prepare_data(cfg, ('test',), args.skip_bad_images)
        job.work_dir = cfg.work_dir
        kept = Path(args.predictions).is_dir() or args.predictions.endswith(('.pkl', '.pickle'))
        predictions = args.predictions if kept else test(cfg, args, job)

        dataset = confusion.test_dataset(cfg)
        classes = dataset.metainfo['classes']
        if cfg.default_scope == 'mmdet':
            items = confusion.load_predictions(predictions)
            counts = confusion.detection_confusion(dataset, items, args.score_thr, args.tp_iou_thr)
            results = confusion.average_precisions(dataset, items)
            how = f'score ≥ {args.score_thr:g}, IoU ≥ {args.tp_iou_thr:g}'
        else:
            counts = confusion.segmentation_confusion(cfg, dataset, predictions)
            results, how = confusion.intersections_over_unions(counts), 'pixels'
        name = Path(args.config).stem
        draw_confusion(args.out_dir / 'confusion_matrix.png', counts, classes, f'{name}\n{how}')
        draw_per_class(args.out_dir / 'per_class.png', results, classes, name)
        content = json.dumps(dict(
            classes=list(classes), counts=counts.tolist(),
            per_class={key: [None if v != v else v for v in values] for key, values in results.items()}), indent=2)
        replace(args.out_dir / 'confusion.json', lambda temporary: temporary.write_text(content + '\n'))
        print(f'confusion: {args.out_dir}')


if __name__ == '__main__':
    main()
