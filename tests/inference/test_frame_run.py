"""Frames in batches."""
from itertools import pairwise
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.inference.frame_run import batches


@given(st.lists(st.sampled_from([(3, 8, 8), (3, 8, 9), (3, 9, 8)]), max_size=20), st.integers(1, 5), st.booleans())
def test_batches_are_the_frames_in_order_full_and_where_asked_for_of_one_shape(shapes, batch_size, equal):
    frames = [(i, dict(inputs=SimpleNamespace(shape=shape))) for i, shape in enumerate(shapes)]
    found = list(batches(iter(frames), batch_size, equal))
    assert [frame for batch in found for frame in batch] == frames
    shapes_of = [[frame[-1]['inputs'].shape for frame in batch] for batch in found]
    assert all(1 <= len(batch) <= batch_size for batch in found)
    assert not equal or all(len(set(batch)) == 1 for batch in shapes_of)
    for batch, following in pairwise(shapes_of):
        assert len(batch) == batch_size or (equal and batch[-1] != following[0]), 'ends no earlier than it has to'
