"""Confusion matrices and bars of any number of classes, found or not."""
import cv2
import numpy as np
import pytest

pytest.importorskip('mmengine')

from mmvision_mamba.visualization import confusion
from mmvision_mamba.visualization.confusion import MOST_CLASSES, draw_confusion, draw_per_class


@pytest.mark.parametrize(('classes', 'background'), [(1, True), (3, False), (14, True), (40, True)])
def test_pictures(classes, background, tmp_path):
    names = [f'class with a long name {i}' for i in range(classes)]
    counts = np.diag(np.arange(classes + background)) * 10  # of the first class, there is none
    draw_confusion(tmp_path / 'm.png', counts, names, 'title')
    values = np.linspace(0, 1, classes)
    values[0] = np.nan
    draw_per_class(tmp_path / 'b.png', {'box AP': values, 'mask AP': values}, names, 'title')
    for name in 'mb':
        assert cv2.imread(str(tmp_path / f'{name}.png')).std() > 5


def test_the_diagonal_is_dark_and_rows_are_true_classes(tmp_path):
    def darkness(counts):
        draw_confusion(tmp_path / 'm.png', np.array(counts), ['a', 'b'])
        grey = cv2.imread(str(tmp_path / 'm.png'), cv2.IMREAD_GRAYSCALE)[:, :-160]  # without the scale of colours
        dark = grey < 100
        rows, columns = np.nonzero(dark)
        return rows.mean() / grey.shape[0], columns.mean() / grey.shape[1], dark.mean()
    (right_row, right_column, _), (wrong_row, wrong_column, _) = darkness([[9, 0], [0, 0]]), darkness([[0, 9], [0, 0]])
    assert abs(right_row - wrong_row) < 0.02 and wrong_column - right_column > 0.2, 'true above, predicted beside'


@pytest.mark.parametrize('classes', [1203, MOST_CLASSES])
def test_many_classes_fit_a_picture(classes, monkeypatch):
    """LVIS has 1,203."""
    figures = []
    monkeypatch.setattr(confusion, 'save', lambda figure, out: figures.append(figure))
    names = [f'class {i}' for i in range(classes)]
    draw_confusion('m.png', np.ones((classes + 1, classes + 1), int), names)
    draw_per_class('b.png', {'box AP': np.ones(classes), 'mask AP': np.ones(classes)}, names)
    matrix, bars = (120 * figure.get_size_inches() for figure in figures)
    assert matrix.max() < 5000 and bars.max() < 2**16 and matrix.prod() < 3e7 and bars.prod() < 6e7
    inches = figures[0].axes[0].get_yticks()
    assert 100 < len(inches) < 400 and len(figures[1].axes[0].get_yticks()) == classes
