"""Draws instances and segments over an image: lines and labels scale with it, and labels keep clear of each other."""
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .fonts import text_mask

OPACITY = 0.5  # of masks and segments
MIN_FONT = 9  # pixels; smaller text can't be read
MAX_SIDE = 1024  # segments are searched for a place for their label at no more than so many pixels a side
LEGEND_SHARE = 0.5  # most of the image's width and height that the legend takes

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, the last two exclusive


def font_size(shape: Sequence[int]) -> int:
    """Pixels of the text over an image of height and width `shape`: 2.6% of its geometric mean side, 9 or more."""
    return max(MIN_FONT, round(0.026 * math.sqrt(shape[0] * shape[1])))


def score_text(score: float) -> str:
    """A score as pictures and tables show it."""
    return f'{score:.2f}'


@dataclass
class Label:
    """A text for something in the picture.

    Attributes:
        texts: from the longest to the shortest; the first that finds room is drawn.
        name: of the class, for the legend.
        colour: RGB.
        box: of the thing; an empty one has no place for a label.
        inside: whether the text belongs into the middle of the box, or beside it.
    """
    texts: Sequence[str]
    name: str
    colour: Colour
    box: Box
    inside: bool = False


def draw_instances(image: np.ndarray, boxes: np.ndarray, names: Sequence[str], colours: Sequence[Sequence[int]],
                   masks: np.ndarray | None = None, scores: Sequence[float] | None = None,
                   numbers: Sequence[int] | None = None, opacity: float = OPACITY) -> np.ndarray:
    """Draw instances over an image; those with higher scores have the first choice of a place for their label.

    Args:
        image: RGB, uint8 ``(H, W, 3)``.
        boxes: ``(n, 4)``, x1, y1, x2, y2 in pixels.
        names, colours: of the instances' classes, as `fonts.drawable` gives them, and RGB.
        masks: bool ``(n, H, W)``. Default: none.
        scores: from 0 to 1. Default: none.
        numbers: before the names, or alone where there is no room for more. Default: none.
        opacity: of masks. Default: 0.5.

    Returns:
        a new image.
    """
    picture, size = image.copy(), font_size(image.shape)
    line = max(1, round(size / 7))
    boxes = _inside(np.asarray(boxes, float).reshape(-1, 4), image.shape)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-areas, kind='stable'):  # small ones are drawn over large ones
        colour, (x1, y1, x2, y2) = _rgb(colours[i]), boxes[i].tolist()
        if masks is not None:
            _fill(picture, masks[i], colour, opacity, line)
        width = min(line, max(1, min(x2 - x1, y2 - y1) // 6))
        inset = width // 2
        corners = (x1 + inset, y1 + inset), (max(x1, x2 - 1 - inset), max(y1, y2 - 1 - inset))
        if width > 1:  # an edge that also shows on an image of that colour
            cv2.rectangle(picture, *corners, _contrast(colour), width + 2 * max(1, width // 4))
        cv2.rectangle(picture, *corners, colour, width)
    labels = []
    for i in range(len(boxes)) if scores is None else np.argsort(-np.asarray(scores), kind='stable'):
        number = '' if numbers is None else str(int(numbers[i]))
        named = f'{number} {names[i]}'.strip()
        texts = [] if scores is None else [f'{named} {score_text(scores[i])}']
        texts += [named, number] if number else [named]
        labels.append(Label(texts, names[i], _rgb(colours[i]), tuple(boxes[i].tolist())))
    _write(picture, labels, size)
    return picture


def draw_segments(image: np.ndarray, segments: np.ndarray, names: Sequence[str], colours: Sequence[Sequence[int]],
                  numbers: Sequence[int] | None = None, outlines: bool = False,
                  opacity: float = OPACITY) -> np.ndarray:
    """Draw a map of segments over an image, and the names of those with room for it; else a legend has all names.

    Args:
        image: RGB, uint8 ``(H, W, 3)``.
        segments: int ``(H, W)``, positions in `names`; pixels with other values stay as they are.
        names, colours: of the segments' classes, as `fonts.drawable` gives them, and RGB. '' is not written.
        numbers: of the segments, before the names, or alone where there is no room for more. Default: none.
        outlines: draw white lines between segments, which may be of the same class. Default: False.
        opacity: of segments. Default: 0.5.

    Returns:
        a new image.
    """
    picture, size = image.copy(), font_size(image.shape)
    segments = np.where((segments >= 0) & (segments < len(names)), segments, len(names))
    known = segments < len(names)
    if not known.any():
        return picture
    table = np.array([*map(_rgb, colours), (0, 0, 0)], np.uint8)
    picture[known] = cv2.addWeighted(picture, 1 - opacity, table[segments], opacity, 0)[known]
    if outlines:
        edge = np.zeros(segments.shape, np.uint8)
        edge[:, 1:] |= segments[:, 1:] != segments[:, :-1]
        edge[1:] |= segments[1:] != segments[:-1]
        width = max(1, round(size / 7))
        picture[cv2.dilate(edge, np.ones((width, width), np.uint8)) > 0] = 255
    step = max(1, math.ceil(max(segments.shape) / MAX_SIDE))
    small = segments[::step, ::step]
    labels = []
    for i in np.flatnonzero(np.bincount(segments.ravel(), minlength=len(names))[:len(names)]):
        if names[i]:
            box = tuple(step * side for side in _roomiest_square(small == i))
            texts = [names[i]] if numbers is None else [f'{numbers[i]} {names[i]}', str(numbers[i])]
            labels.append(Label(texts, names[i], _rgb(colours[i]), box, inside=True))
    labels.sort(key=lambda label: label.box[0] - label.box[2])  # the roomiest first
    _write(picture, labels, size)
    return picture


def draw_classes(image: np.ndarray, names: Sequence[str], colours: Sequence[Sequence[int]],
                 scores: Sequence[float]) -> np.ndarray:
    """Write classes of a whole image into its upper left corner, a line for each, as far as there is room.

    Args:
        image: RGB, uint8 ``(H, W, 3)``.
        names, colours: of the classes, as `fonts.drawable` gives them, and RGB.
        scores: from 0 to 1.

    Returns:
        a new image.
    """
    picture, size, y = image.copy(), font_size(image.shape), 0
    for name, colour, score in zip(names, colours, scores):
        tag = _tag(f'{name} {score_text(score)}', _rgb(colour), size)[:, :picture.shape[1]]
        if y + len(tag) > len(picture):
            break
        _paste(picture, tag, (0, y))
        y += len(tag)
    return picture


def _inside(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Boxes in whole pixels, cut at the image's borders, and a pixel wide and high at least."""
    height, width = shape[:2]
    boxes = np.nan_to_num(boxes, posinf=1e9, neginf=-1e9)
    low = np.floor(boxes[:, :2]).clip(0, (width - 1, height - 1))
    high = np.ceil(boxes[:, 2:]).clip(low + 1, (width, height))
    return np.concatenate([low, high], axis=1).astype(int)


def _rgb(colour: Sequence[int]) -> Colour:
    red, green, blue = colour
    return int(red), int(green), int(blue)


def _contrast(colour: Colour) -> Colour:
    """Black or white, whichever stands out more from a colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _fill(picture: np.ndarray, mask: np.ndarray, colour: Colour, opacity: float, line: int) -> None:
    """Lay a mask over the picture, in place, and draw its outline."""
    mask = np.ascontiguousarray(mask, np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return
    mask, part = mask[y:y + height, x:x + width], picture[y:y + height, x:x + width]
    drawn = np.ascontiguousarray(part)
    layer = np.empty_like(drawn)
    layer[:] = colour
    drawn = np.where(mask[..., None] > 0, cv2.addWeighted(drawn, 1 - opacity, layer, opacity, 0), drawn)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(drawn, outlines, -1, colour, max(1, line // 2))
    part[:] = drawn


def _roomiest_square(mask: np.ndarray) -> Box:
    """The square around the point of a mask that is farthest from its edge and from the image's."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_C, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    half = int(distance[y, x]) - 1
    return int(x) - half, int(y) - half, int(x) + half + 1, int(y) + half + 1


def _write(picture: np.ndarray, labels: Sequence[Label], size: int) -> None:
    """Draw labels into the picture, in place, and a legend of all their classes if any finds no room."""
    placed = place_labels(labels, picture.shape, size, [])
    if len(placed) < len(labels):
        legend, corner = _legend(labels, picture.shape, size)
        if legend is not None:
            height, width = legend.shape[:2]
            placed = place_labels(labels, picture.shape, size, [(*corner, corner[0] + width, corner[1] + height)])
            _paste(picture, legend, corner)
    for label, text, (x1, y1, _, _) in placed:
        _paste(picture, _tag(text, label.colour, size), (x1, y1))


def place_labels(labels: Sequence[Label], shape: Sequence[int], size: int,
           taken: Iterable[Box]) -> list[tuple[Label, str, Box]]:
    """Labels with the text and the place of each, as far as there is room for them.

    A label lies within the image, on no other label, and hides no whole object.
    """
    taken = np.array(list(taken), int).reshape(-1, 4)
    objects = np.array([label.box for label in labels if not label.inside], int).reshape(-1, 4)
    placed = []
    for label in labels:
        for text in label.texts:
            place = _free_place(label, _tag_size(text, size), shape, taken, objects)
            if place is not None:
                taken = np.vstack([taken, place])
                placed.append((label, text, place))
                break
    return placed


def _free_place(label: Label, wanted: tuple[int, int], shape: Sequence[int], taken: np.ndarray,
                objects: np.ndarray) -> Box | None:
    """The first place for a text of that width and height that is within the image and free."""
    (width, height), (x1, y1, x2, y2) = wanted, label.box
    if width > shape[1] or height > shape[0]:
        return None
    if label.inside:
        if min(x2 - x1, y2 - y1) < height:
            return None
        corners = [((x1 + x2 - width) // 2, (y1 + y2 - height) // 2)]
    else:
        corners = [(x1, y1 - height), (x1, y1), (x1, y2), (x2 - width, y1 - height), (x2, y1), (x1 - width, y1),
                   (x2 - width, y2), (x1, y2 - height)]
    for x, y in corners:
        x, y = min(max(x, 0), shape[1] - width), min(max(y, 0), shape[0] - height)
        place = x, y, x + width, y + height
        hidden = (objects[:, :2] >= place[:2]).all(1) & (objects[:, 2:] <= place[2:]).all(1)
        if not hidden.any() and not _overlap(taken, place).any():
            return place
    return None


def _overlap(boxes: np.ndarray, box: Box) -> np.ndarray:
    """The pixels that each of some boxes has in common with a box."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    return sides.clip(0).prod(1)


def _tag_size(text: str, size: int) -> tuple[int, int]:
    height, width = text_mask(text, size).shape
    return width + 2 * _margin(size), height


def _margin(size: int) -> int:
    return max(1, size // 5)


def _tag(text: str, colour: Colour, size: int) -> np.ndarray:
    """A text on its colour, RGB."""
    return _on(np.pad(text_mask(text, size), ((0, 0), (_margin(size), _margin(size)))), _contrast(colour), colour)


def _on(opacity: np.ndarray, ink: Colour, paper: Colour) -> np.ndarray:
    share = opacity[..., None] / 255
    return (share * np.array(ink) + (1 - share) * np.array(paper)).round().astype(np.uint8)


def _paste(picture: np.ndarray, part: np.ndarray, corner: Sequence[int]) -> None:
    x, y = corner
    picture[y:y + part.shape[0], x:x + part.shape[1]] = part


def _legend(labels: Sequence[Label], shape: Sequence[int], size: int) -> tuple[np.ndarray | None, tuple[int, int]]:
    """A legend of the classes, RGB, the most frequent first, and its corner, x and y; None where it doesn't fit.

    It takes the corner with the least in it, and at most half of the image's width and height.
    """
    counts = Counter(label.name for label in labels).most_common()
    colours = {label.name: label.colour for label in labels}
    several = counts[0][1] > 1
    lines = [_legend_line(f'{name} × {count}' if several else name, colours[name], size) for name, count in counts]
    line_height = len(lines[0])
    rows = int(LEGEND_SHARE * shape[0]) // line_height
    if not rows:
        return None, (0, 0)
    rows = math.ceil(len(lines) / math.ceil(len(lines) / rows))  # columns of equal heights
    columns, width = [], 0
    for first in range(0, len(lines), rows):
        column = lines[first:first + rows]
        widest = max(line.shape[1] for line in column)
        if width + widest > LEGEND_SHARE * shape[1]:
            break
        columns.append([_padded(line, line_height, widest) for line in column])
        width += widest
    if not columns:
        return None, (0, 0)
    if (left_out := len(lines) - sum(map(len, columns))) > 0:
        last = columns[-1][-1]
        more = _legend_line(f'+ {left_out + 1}', (255, 255, 255), size)[:, :last.shape[1]]
        columns[-1][-1] = _padded(more, *last.shape[:2])
    stacked = [np.vstack(column) for column in columns]
    legend = np.hstack([_padded(column, rows * line_height, column.shape[1]) for column in stacked])
    height, width = legend.shape[:2]
    objects = np.array([label.box for label in labels], int)
    corners = [(x, y) for y in (shape[0] - height, 0) for x in (shape[1] - width, 0)]
    return legend, min(corners, key=lambda corner: _overlap(
        objects, (*corner, corner[0] + width, corner[1] + height)).sum())


def _legend_line(text: str, colour: Colour, size: int) -> np.ndarray:
    """A patch of the colour and a black text on white."""
    margin = _margin(size)
    words = _on(text_mask(text, size), (0, 0, 0), (255, 255, 255))
    patch = np.full((len(words), size, 3), 255, np.uint8)
    patch[margin:-margin, margin:] = colour
    return np.hstack([patch, np.pad(words, ((0, 0), (2 * margin, 2 * margin), (0, 0)), constant_values=255)])


def _padded(part: np.ndarray, height: int, width: int) -> np.ndarray:
    """A part with white below and to the right of it."""
    return np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)), constant_values=255)
