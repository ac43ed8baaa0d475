"""The kinds of problems that a data set can have, and the statistics of its summary."""
import math
from collections import Counter
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with one item of a data set."""

    kind: str  # a key of KINDS
    where: str  # the file, or 'annotation ID (file)'
    detail: str = ''
    fix: str = ''  # in place of the kind's; FILE in it stands for the file's path

    def way_out(self, path: str) -> str:
        """What mends it, in the file at `path`."""
        return (self.fix or KINDS[self.kind].fix).replace(' FILE ', f' {path} ')


class Kind(NamedTuple):
    """A kind of problem, and the way out.

    Level 'error': training or testing would stop there, or learn and measure nonsense. 'warning': mmdet and mmseg leave
    the item out, or the result is a little off.
    """

    level: str
    what: str  # the items that have the problem, in the plural
    fix: str
    of_file: bool = False  # the file as a whole has it: `what` is a sentence


_DROPPED = 'mmdet leaves them out; correct or remove them'
_MISSED = "mmdet does not learn from them, and COCO's evaluation counts them as not found; correct or remove them"
KINDS = {
    'boxes in another format': Kind('error', 'its boxes are not x, y, width, height', 'convert them', True),
    'boxes as fractions': Kind('error', 'its boxes are fractions, not pixels', 'convert them', True),
    'boxes unlike masks': Kind('warning', 'its boxes contradict its masks', 'convert them', True),
    'boxes of another scale': Kind('warning', 'its boxes seem to be made for pictures of another size', 'convert them',
                                   True),
    'ids shifted': Kind('error', 'ids seem to be shifted by one', 'export it again with matching ids', True),
    'image record': Kind('error', 'items of images without a usable id, file_name, width and height',
                         'export the annotation file again with these keys: width and height in pixels'),
    'duplicate image id': Kind('error', 'images with the id of another', 'give each image an id of its own'),
    'duplicate file name': Kind('warning', 'images listed twice', 'remove one of the two'),
    'category record': Kind('error', 'categories without an id and name of their own',
                            'give each category an id and a name that no other has'),
    'annotation record': Kind('error', 'annotations that lack a key or have a value of the wrong type in it',
                              'export the annotation file again: id, image_id, category_id, bbox, area and iscrowd'),
    'duplicate annotation id': Kind('error', 'annotations with the id of another',
                                    'number the annotations anew, from 1'),
    'annotation id 0': Kind('warning', "annotations with the id 0, which COCO's evaluation takes for 'no match'",
                            'number the annotations from 1'),
    'label file': Kind('error', 'files, lines or objects of annotations that cannot be read',
                       'correct them, or remove them'),
    'files left out': Kind('warning', 'some files are left out',
                           'add what they lack, or remove them', True),
    'data set': Kind('error', 'data sets that cannot be used', 'correct the config or the files it names'),
    'image file': Kind('error', 'images that cannot be used',
                       'replace them, or leave them out with --skip-bad-images in training and testing'),
    'image size': Kind('error', 'images of another size than their annotations say',
                       'put the images back for which the annotations were made, or annotate these'),
    'turned image': Kind('warning', 'images that their header turns by 180° or mirrors, which no size shows',
                         'look at one with browse-dataset; if its map or boxes are those of the image as stored, save '
                         "the image anew, or load all as stored with color_type='color_ignore_orientation'"),
    'nearly black': Kind('warning', 'data sets whose images come out nearly black',
                         'scale their values to the whole range of 16 bits, or save 8 bits'),
    'segmentation map': Kind('error', 'segmentation maps that cannot be used', 'see each; correct the maps'),
    'lossy map': Kind('warning', 'segmentation maps in a format that changes pixel values, such as JPEG',
                      'export them as PNG: class numbers may be wrong along outlines'),
    'palettes': Kind('warning', 'the palettes of its segmentation maps differ',
                     'see whether a number means one class in all: pixels are read as numbers, whatever their colour',
                     True),
    'box not finite': Kind('error', 'boxes that are not four finite numbers', 'correct or remove them'),
    'box empty': Kind('warning', 'boxes less than a pixel wide or high, or with area ≤ 0', _MISSED),
    'box outside': Kind('warning', 'boxes that lie outside their image', _MISSED),
    'box sticks out': Kind('warning', 'boxes that stick out of their image by more than a pixel',
                           'clip them; if the numbers are x1, y1, x2, y2, convert them: mmvision-mamba '
                           'repair-annotations FILE NEW_FILE --boxes xyxy'),
    'unknown category': Kind('warning', 'annotations of a category that is not among the categories', _DROPPED),
    'unknown image': Kind('warning', 'annotations of an image that is not among the images', _DROPPED),
    'no mask': Kind('error', 'objects without a mask, and the pipeline loads masks',
                    'add a segmentation, remove the objects, or train without masks (with_mask=False)'),
    'polygon short': Kind('warning', 'polygons of fewer than three points',
                          'remove them; mmdet ignores an object all of whose polygons are such'),
    'polygon short, evaluated': Kind('error', "polygons of fewer than three points, on which COCO's evaluation stops",
                                     'remove them'),
    'isthing': Kind('error', 'categories of a panoptic file that do not say whether they are things',
                    'give each category isthing, 1 for things and 0 for stuff'),
    'panoptic record': Kind('error', 'annotations of a panoptic file that are not one for each image',
                            'export the annotation file again: image_id, file_name of the PNG, segments_info'),
    'segment record': Kind('error', 'segments that lack a key or have a value of the wrong type in it',
                           'export the annotation file again: id from 1 to 2²⁴ - 1, category_id, bbox, area, iscrowd'),
    'duplicate segment id': Kind('error', 'segments with the id of another of their image',
                                 'give each segment of an image an id, and its pixels that colour'),
    'no segments': Kind('warning', 'images without segments',
                        'annotate them; training leaves them out, and they are not measured'),
    'panoptic PNG': Kind('error', 'panoptic PNGs that cannot be used, or have other ids than the annotation file',
                         'export the PNGs and the annotation file together, the PNGs as RGB of 8 bits'),
    'polygon broken': Kind('error', 'polygons that are no flat lists of finite coordinates in or near the image',
                           'correct or remove them: [[x1, y1, x2, y2, x3, y3, …], …], in pixels'),
    'masks': Kind('error', "images whose masks can't be decoded, or take more memory than is allowed",
                  'correct or simplify them, cut the images into tiles, or set the environment variable'),
    'mask too large': Kind('error', 'masks that take more memory to decode than is allowed', 'simplify the polygons'),
    'too many objects': Kind('error', 'images with more objects than are allowed',
                             'cut the images into tiles, remove objects, or set the environment variable'),
    'too many categories': Kind('error', 'it has more categories than are allowed',
                                'remove some, or set the environment variable', True),
    'run lengths broken': Kind('error', "run-length encodings that can't be decoded or don't cover their image",
                               "encode them again: counts sum up to height × width, size is [height, width]"),
}


class Contents:
    """Statistics of a data set, for its summary.

    Attributes:
        images, objects, crowds, empty: numbers of each; `empty` counts images without objects.
        classes: {class name: objects, or pixels in segmentation}.
        sides: √(w · h) of each box, pixels.
    """

    def __init__(self):
        self.images = self.objects = self.crowds = self.empty = 0
        self.classes = Counter()
        self.sides = []

    def add_box(self, name: str, width: float, height: float) -> None:
        self.objects += 1
        self.classes[name] += 1
        self.sides.append(math.sqrt(max(width * height, 0.)))
