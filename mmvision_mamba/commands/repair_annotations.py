"""Write a COCO annotation file anew, in the form that mmdet and COCO's evaluation expect.

Mends what takes no guess (byte order marks, back slashes, ids in quotes, missing areas and crowd flags, headings among
the categories) and converts boxes; says what it did and what is still wrong. The input stays as it is.
"""
import argparse
import json
import os
from pathlib import Path

from ..errors import ConfigError, DataError
from ..files import check_output, replace
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('annotations', type=Path, help='COCO annotation file')
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument('--boxes', metavar='FORMAT', help='what the boxes are: xyxy (x1, y1, x2, y2), cxcywh (centre, '
                        'width, height), yxyx; relative_xywh and so on: fractions of the image; masks: take them from '
                        'the masks; a number: multiply them. Default: xywh (x, y, width, height), in pixels')
    parser.add_argument('--shift-category-ids', type=int, default=0, metavar='N',
                        help="add N to the annotations' category_id")
    parser.add_argument('--shift-image-ids', type=int, default=0, metavar='N',
                        help="add N to the annotations' image_id")
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists; the input never')


def run(args: argparse.Namespace) -> int:
    from ..datasets.coco_annotations import coco_problems
    from ..datasets.coco_files import read_coco
    from ..datasets.coco_repairs import shift_ids
    from ..datasets.panoptic_files import kind_problem
    from ..datasets.problems import KINDS
    from ..text import shortened

    is_input = args.annotations.exists() and args.out.exists() and os.path.samefile(args.annotations, args.out)
    if is_input or (args.out.exists() and not args.overwrite):
        raise ConfigError(f'{args.out} exists: choose another name{"" if is_input else ", or --overwrite it"}')
    check_output(args.out, 'OUT')
    content, notes = read_coco(args.annotations, _boxes(args.boxes))
    if problem := kind_problem(str(args.annotations), content, panoptic=False):
        raise DataError(problem)
    for key, step in (('category_id', args.shift_category_ids), ('image_id', args.shift_image_ids)):
        if step:
            notes.append(f'{shift_ids(content, key, step):,} times {step:+} to {key}')
    try:
        replace(args.out, lambda path: path.write_text(json.dumps(content), encoding='utf-8'))
    except OSError as error:
        raise DataError(f'{args.out}: cannot write there: {error.strerror or error}') from error
    print(f'{shown(args.out)}: ' + ('; '.join(map(shown, notes)) or 'nothing to repair'))
    left = {}
    for problem in coco_problems(content, boxes=args.boxes):
        left.setdefault(problem.kind, []).append(f'{problem.where}{": " if problem.detail else ""}{problem.detail}')
    for kind, places in left.items():
        print(f'  {KINDS[kind].level}: {"" if KINDS[kind].of_file else f"{len(places)} "}{KINDS[kind].what}: '
              + shortened(places, 3))
    return 0


def _boxes(text: str | None) -> str | float | None:
    """A format's name, or a factor."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return text
