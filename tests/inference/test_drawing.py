"""Pictures of predictions: sizes from specks to posters, labels that keep clear of each other."""
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.inference.drawing import Label, draw_instances, draw_segments, font_size, place_labels, score_text

RED, BLUE = (230, 20, 20), (20, 20, 230)
SIZES = [(48, 64), (427, 640), (640, 427), (200, 5000), (3, 500), (1, 1), (4000, 6000)]  # height, width


@st.composite
def scenes(draw):
    height, width = draw(st.tuples(st.integers(1, 300), st.integers(1, 700)))
    side = st.floats(-50, 800, allow_nan=False)
    boxes = draw(st.lists(st.tuples(side, side, side, side), min_size=1, max_size=40))
    return (height, width), np.array(boxes)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_labels_lie_within_the_image_on_nothing(scene):
    (height, width), boxes = scene
    boxes = np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4).clip(0, (width, height) * 2).astype(int)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = [Label([f'{i} name 0.5', str(i)], 'name', RED, tuple(box), inside=i % 5 == 4)
              for i, box in enumerate(boxes.tolist())]
    covered = np.zeros((height, width), int)
    beside = [label.box for label in labels if not label.inside]
    for label, text, (x1, y1, x2, y2) in place_labels(labels, (height, width), font_size((height, width)), []):
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and text in label.texts
        covered[y1:y2, x1:x2] += 1
        assert not any(x1 <= a and y1 <= b and c <= x2 and d <= y2 for a, b, c, d in beside), 'an object is hidden'
    assert covered.max(initial=0) <= 1


@settings(max_examples=40, deadline=None)
@given(scenes(), st.booleans())
def test_any_boxes_on_any_image(scene, scored):
    (height, width), boxes = scene
    image = np.full((height, width, 3), 128, np.uint8)
    before = image.copy()
    masks = np.zeros((len(boxes), height, width), bool)
    masks[:, ::2, ::3] = True
    scores = np.linspace(0, 1, len(boxes)) if scored else None
    boxes[0, 0] = np.nan
    picture = draw_instances(image, boxes, ['a name'] * len(boxes), [BLUE] * len(boxes), masks, scores)
    assert picture.shape == image.shape and picture.dtype == np.uint8 and np.array_equal(image, before)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_lines_and_labels_grow_with_the_image(size):
    height, width = size
    image = np.full((height, width, 3), 255, np.uint8)
    box = np.array([[0.2 * width, 0.3 * height, 0.7 * width, 0.9 * height]])
    picture = draw_instances(image, box, ['dog'], [BLUE], scores=[0.875])
    drawn = (picture != 255).any(-1)
    side = np.sqrt(height * width)
    if min(size) >= 150:
        label = drawn[:round(0.3 * height)]  # above the box
        tall = np.flatnonzero(label.any(1))
        assert 0.02 * side < len(tall) < 0.06 * side
        left = drawn[round(0.6 * height), :round(0.4 * width)]  # the box's left edge
        assert max(1, 0.002 * side) <= left.sum() <= max(4, 0.008 * side)
    elif min(size) < 9:
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 3, 'no text where none fits'


def test_a_name_and_a_score_are_in_the_picture():
    image, box = np.zeros((400, 600, 3), np.uint8), np.array([[100, 100, 300, 300]])
    one, other, same = (draw_instances(image, box, ['dog'], [BLUE], scores=[s]) for s in (0.871, 0.879, 0.8712))
    assert score_text(0.871) == '0.87' and score_text(0.879) == '0.88' and score_text(1) == '1.00'
    assert (one != other).any() and np.array_equal(one, same)
    bare, numbered = (draw_instances(image, box, ['dog'], [BLUE], numbers=numbers) for numbers in (None, [3]))
    assert (bare != numbered).any()


def test_a_crowd_of_specks_stays_visible_and_gets_a_legend():
    rng = np.random.default_rng(0)
    corners = rng.uniform((150, 150), (450, 250), (80, 2))
    boxes = np.hstack([corners, corners + 4])
    image = np.zeros((400, 600, 3), np.uint8)
    picture = draw_instances(image, boxes, ['a class'] * 80, [RED] * 80)
    few = draw_instances(image, boxes[:1], ['a class'], [RED])
    assert not (few == 255).all(-1)[-60:, -120:].any()
    white = (picture == 255).all(-1)
    legend = max(white[y][:, x].mean() for y in (slice(60), slice(-60, None)) for x in (slice(120), slice(-120, None)))
    assert legend > 0.1, 'a legend in a corner'
    centres = (corners + 2).astype(int)
    assert np.mean([picture[y - 2:y + 3, x - 2:x + 3].any() for x, y in centres]) == 1


def test_small_instances_are_drawn_over_large_ones():
    image = np.zeros((200, 200, 3), np.uint8)
    masks = np.zeros((2, 200, 200), bool)
    masks[0, 90:110, 90:110], masks[1, 10:190, 10:190] = True, True
    boxes = np.array([[90, 90, 110, 110], [10, 10, 190, 190]])
    picture = draw_instances(image, boxes, ['small', 'large'], [RED, BLUE], masks, [0.9, 0.8])
    assert picture[100, 100, 0] > picture[100, 100, 2]


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_segments_of_all_sizes(size):
    height, width = size
    image = np.full((height, width, 3), 200, np.uint8)
    segments = np.zeros((height, width), int)
    segments[:, width // 2:] = 1
    segments[:height // 4] = 255  # none
    picture = draw_segments(image, segments, ['left', 'right'], [RED, BLUE])
    assert picture.shape == image.shape
    rest = picture[:height // 4]
    assert (rest == 200).mean() > 0.7 if rest.size else True, 'pixels of no class stay; a legend may be there'
    inner = picture[height // 4:, :max(1, width // 2)].reshape(-1, 3)
    if width > 1:
        assert (inner == (215, 110, 110)).all(-1).mean() > 0.5
    assert np.array_equal(draw_segments(image, np.full_like(segments, -1), ['left'], [RED]), image)


def test_segments_that_are_specks_have_their_name_in_a_legend():
    image, segments = np.full((400, 600, 3), 100, np.uint8), np.zeros((400, 600), int)
    segments[::40, ::40] = 1
    legend = draw_segments(image, segments, ['ground', 'speck'], [RED, BLUE])
    none = draw_segments(image, segments, ['ground', ''], [RED, BLUE])
    assert (legend == 255).all(-1).sum() > (none == 255).all(-1).sum() + 300
    many = np.arange(400 * 600).reshape(400, 600) % 300
    assert draw_segments(image, many, [f'class number {i}' for i in range(300)], [RED] * 300).shape == image.shape


def test_segments_of_one_class_are_outlined():
    image, segments = np.full((100, 200, 3), 100, np.uint8), np.zeros((100, 200), int)
    segments[:, 100:] = 1
    names, colours = ['', ''], [RED, RED]
    assert len(np.unique(draw_segments(image, segments, names, colours).reshape(-1, 3), axis=0)) == 1
    edge = (draw_segments(image, segments, names, colours, outlines=True) == 255).all(-1)
    assert edge[:, 98:103].any(1).all() and not edge[:, :90].any()


def test_numbers_of_segments():
    image, segments = np.full((100, 200, 3), 100, np.uint8), np.zeros((100, 200), int)
    segments[:, 100:] = 1
    names, colours = ['a name of some length', 'short'], [RED, BLUE]
    plain, numbered, other = (draw_segments(image, segments, names, colours, numbers)
                              for numbers in (None, [1, 2], [1, 3]))
    assert (plain != numbered).any() and (numbered[:, :100] == other[:, :100]).all() and (numbered != other).any()
    segments[:] = 0
    segments[40:60, 80:100] = 1  # room for a number alone
    alone = draw_segments(image, segments, names, colours, [1, 23])
    assert (alone[40:60, 80:100] != draw_segments(image, segments, ['', ''], colours)[40:60, 80:100]).any()


def test_masks_are_filled_whatever_their_type():
    image, box = np.zeros((60, 60, 3), np.uint8), np.array([[10, 10, 50, 50]])
    mask = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 15, 1, -1)
    pictures = [draw_instances(image, box, [''], [RED], mask[None].astype(kind)) for kind in (bool, np.uint8, int)]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert tuple(pictures[0][30, 30]) == (115, 10, 10)
