"""Run a detector, segmentor or classifier on images, videos or a camera.

Writes OUT_DIR/vis (pictures, videos) and OUT_DIR/preds (COCO results, segment maps, classes). An input that can't be
read is passed over and listed at the end. Exit code: 0, all inputs done; 2, wrong usage, or some inputs failed; 130,
stopped by Ctrl-C. Finished results stay in each case.
"""
import argparse
import sys

from ..allocator import keep_freed_memory
from ..errors import DataError
from ..printable import shown
from .options import (
    add_cfg_options,
    add_dtype,
    add_font,
    add_model_and_inputs,
    model_and_inputs,
    number_or_auto,
    use_font,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_and_inputs(parser, "image, video, folder (searched recursively), pattern ('data/**/*.jpg'), http(s) URL, "
                         "or a camera's index")
    parser.add_argument('--out-dir', default='outputs', help='where results are written; default: outputs')
    parser.add_argument('--score-thr', type=number_or_auto, default=0.3, metavar='SCORE|auto',
                        help='instances with a lower score are not drawn; the predictions hold all; auto: the best '
                        'threshold of each class, from the report beside the checkpoint; default: 0.3')
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='keep these classes alone; default: all')
    parser.add_argument('--batch-size', type=int, default=1, help='images per forward; default: 1')
    parser.add_argument('--tile', type=int, metavar='N', help='read images of any size by windows of N × N pixels, and '
                        'go on where a run was stopped; default: images are read as a whole')
    parser.add_argument('--overlap', type=float, metavar='SHARE', help='with --tile: of neighbouring windows, 0 to '
                        '0.5; default: 0.2')
    parser.add_argument('--polygons', action='store_true', help='with --tile, of segmentors: write the areas of the '
                        'label map as GeoJSON, too')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU where there is one')
    add_dtype(parser)
    parser.add_argument('--no-save-vis', action='store_true', help='write no pictures')
    parser.add_argument('--no-save-pred', action='store_true', help='write no predictions')
    parser.add_argument('--show', action='store_true', help="show pictures in a window too; 'q' ends the run")
    parser.add_argument('--wait-time', type=float, default=0,
                        help='seconds a picture is shown; default: until a key is pressed')
    add_font(parser)
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> int | None:
    from ..inference import Inferencer

    use_font(args)
    config, checkpoint, inputs = model_and_inputs(args)
    inferencer = Inferencer(config, checkpoint, args.device, args.cfg_options, args.classes,
                            dtype=args.dtype)
    keep_freed_memory(inferencer.device)
    done = 0
    try:
        for _ in inferencer.run(inputs, args.batch_size, args.out_dir, args.score_thr, args.no_save_vis,
                                args.no_save_pred, show=args.show, wait_time=args.wait_time, tile=args.tile,
                                overlap=args.overlap, polygons=args.polygons):
            done += 1
    except KeyboardInterrupt:
        kept = args.tile and not (args.no_save_vis and args.no_save_pred)
        way_on = '; run the same command to go on' if kept else ''
        print(f'stopped after {done} images{way_on}', file=sys.stderr)
        return 130
    if not args.no_save_vis or not args.no_save_pred:
        print('\n'.join([f'{done} image{"s" * (done != 1)} done: {shown(args.out_dir)}', *inferencer.notes]))
    if failures := inferencer.failures:
        raise DataError(f'{len(failures)} of {inferencer.number} inputs failed:\n' + '\n'.join(
            f'  {shown(name)}: {shown(reason)}' for name, reason in failures))
    return None
