"""Draw the confusion matrix of the classes, and the AP or IoU of each.

Writes confusion_matrix.png, per_class.png and confusion.json. Detections are matched with objects by their boxes' IoU,
one to one; those without a partner are matched with the background.
"""
import argparse
import json
from pathlib import Path

from ..errors import ConfigError
from ..files import replace
from ..printable import shown
from .errors import Start, removing_failed_start
from .options import add_common_options, add_font, use_font


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file of a detector or segmentor')
    parser.add_argument('predictions', metavar='PREDICTIONS|CHECKPOINT',
                        help="predictions that `mmvision-mamba test --out` kept (a detector's .pkl, a segmentor's "
                        'folder of PNGs), or a checkpoint, which is tested first')
    parser.add_argument('--out-dir', type=Path, help='default: WORK_DIR/confusion')
    parser.add_argument('--score-thr', type=share, default=0.3, metavar='SCORE',
                        help='leave out detections with a lower score (default: %(default)s)')
    parser.add_argument('--tp-iou-thr', type=share, default=0.5, metavar='IOU',
                        help='least IoU of a detection and its object (default: %(default)s)')
    add_font(parser)
    add_common_options(parser)


def share(text: str) -> float:  # argparse's errors quote this name
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def run(args: argparse.Namespace) -> None:
    from .steps.prepare import load_config, prepare_data

    use_font(args)
    cfg = load_config(args, 'test_dataloader')
    if cfg.default_scope not in ('mmdet', 'mmseg'):
        raise ConfigError(f'{args.config}: expected a config of mmdet or mmseg, got one of {cfg.default_scope!r}')
    out_dir = args.out_dir or Path(cfg.work_dir) / 'confusion'
    with removing_failed_start(cfg.work_dir) as start:
        prepare_data(cfg, ('test',), args.skip_bad_images)
        predictions = args.predictions
        if not Path(predictions).is_dir() and not predictions.endswith(('.pkl', '.pickle')):
            predictions = _test(cfg, start, checkpoint=predictions, out_dir=out_dir)
        _draw(cfg, args, predictions, out_dir)
    print(f'confusion: {shown(out_dir)}')


def _test(cfg, start: Start, checkpoint: str, out_dir: Path) -> str:
    """Test the checkpoint; returns the path of the predictions, in `out_dir`."""
    from .steps.prepare import add_hooks, build_runner, prepare_device
    from .steps.testing import check_out, keep_predictions, measure
    out = str(out_dir / ('predictions.pkl' if cfg.default_scope == 'mmdet' else 'predictions'))
    cfg.load_from, cfg.resume = checkpoint, False
    add_hooks(cfg, dict(type='CheckpointFitHook'))
    prepare_device(cfg, trains=False)
    check_out(cfg, out)
    start.runner = build_runner(cfg)
    keep_predictions(cfg, start.runner, out)
    measure(start.runner, cfg.work_dir)
    return out


def _draw(cfg, args: argparse.Namespace, predictions: str, out_dir: Path) -> None:
    """Count, draw both pictures, and write the counts."""
    from ..evaluation import confusion
    from ..visualization.confusion import MOST_CLASSES, draw_confusion, draw_per_class
    dataset = confusion.test_dataset(cfg)
    classes = dataset.metainfo['classes']
    if len(classes) > MOST_CLASSES:
        raise ConfigError(f'{args.config}: {len(classes)} classes; a matrix of {MOST_CLASSES} can be drawn at most.\n'
                          '`mmvision-mamba test` measures them all')
    if cfg.default_scope == 'mmdet':
        items = confusion.load_predictions(predictions)
        counts = confusion.detection_confusion(dataset, items, args.score_thr, args.tp_iou_thr)
        results = confusion.average_precisions(dataset, items)
        criterion = f'score ≥ {args.score_thr:g}, IoU ≥ {args.tp_iou_thr:g}'
    else:
        counts = confusion.segmentation_confusion(cfg, dataset, predictions)
        results, criterion = confusion.intersections_over_unions(counts), 'pixels'
    name = Path(args.config).stem
    draw_confusion(out_dir / 'confusion_matrix.png', counts, classes, f'{name}\n{criterion}')
    draw_per_class(out_dir / 'per_class.png', results, classes, name)
    content = json.dumps(dict(
        classes=list(classes), counts=counts.tolist(),
        per_class={key: [None if v != v else v for v in values] for key, values in results.items()}), indent=2)
    replace(out_dir / 'confusion.json', lambda temporary: temporary.write_text(content + '\n'))
