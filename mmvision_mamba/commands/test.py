"""Test a detector, a segmentor or a classifier.

Prints the metrics and writes them to WORK_DIR/metrics.json.
"""
import argparse

from .errors import removing_failed_start
from .options import CHECKPOINT, add_common_options, add_dtype, add_no_report


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', metavar='CONFIG|FILE', help='config file; or a checkpoint that has one beside it, or '
                        'an exported file, alone')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT|FILE',
                        help=f'{CHECKPOINT}; or a file that `mmvision-mamba export` wrote')
    parser.add_argument('--data', metavar='FOLDER', help='a folder of data to test on, in any layout that `train '
                        "FOLDER` reads; default: the config's test data")
    add_common_options(parser)
    add_dtype(parser, default=None)
    parser.add_argument('--out', help='keep predictions: mmseg configs, a folder of label maps; others, a .pkl file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a picture is shown; default: 2')
    parser.add_argument('--tile', type=int, metavar='N', help='evaluate whole pictures of any size by windows of N × N '
                        'pixels; 0: at once; default: as test_cfg of the config says, by tiles where it was trained on '
                        'tiles')
    parser.add_argument('--overlap', type=float, metavar='SHARE', help='with --tile: of neighbouring windows, 0 to '
                        '0.5; default: 0.2')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: scales and flips, masks merged too')
    add_no_report(parser)


def run(args: argparse.Namespace) -> None:
    from ..datasets.coco_files import reading_once
    with reading_once():
        _test(args)


def _test(args: argparse.Namespace) -> None:
    from ..engine.models import bare_model
    from ..inference.precision import compute_in
    from .steps.prepare import add_hooks, build_runner, load_config, prepare_data, prepare_device
    from .steps.reporting import record, report
    from .steps.tested import use_exported, use_given
    from .steps.testing import (
        check_out,
        draw_predictions,
        keep_predictions,
        measure,
        prepare_drawing,
        prepare_dtype,
        use_tiles,
        use_tta,
    )

    exported = use_given(args)
    cfg = load_config(args, 'test_dataloader', exported.model.classes if exported else None)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if exported:
        use_exported(cfg, exported)
    else:
        add_hooks(cfg, dict(type='CheckpointFitHook'))
    use_tiles(cfg, args)
    prepare_drawing(cfg, args.show, args.show_dir)
    if args.tta:
        use_tta(cfg)
    with removing_failed_start(cfg.work_dir) as start:
        prepare_device(cfg, trains=False)
        dtype = prepare_dtype(cfg, 'float32' if exported else args.dtype)
        prepare_data(cfg, ('test',), args.skip_bad_images)
        if args.out:
            check_out(cfg, args.out)
        start.runner = build_runner(cfg)
        compute_in(bare_model(start.runner.model), dtype)
        if args.out:
            keep_predictions(cfg, start.runner, args.out)
        draw_predictions(cfg, start.runner, args.show, args.show_dir, args.wait_time)
        if not args.no_report:
            record(start.runner)
        measure(start.runner, cfg.work_dir)
    if not args.no_report:
        report(cfg.work_dir)
