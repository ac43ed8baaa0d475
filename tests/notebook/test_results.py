"""What results show in a notebook: bounded, escaped, nothing from outside."""
import base64

import cv2
import numpy as np

from mmvision_mamba.notebook.results import Metrics, figure, table


def test_metrics_are_a_dict_that_shows_itself_as_a_table():
    metrics = Metrics({'mIoU': 0.123456, '<script>': None})
    assert metrics == {'mIoU': 0.123456, '<script>': None}
    html = metrics._repr_html_()
    assert '<td>mIoU</td><td>0.1235</td>' in html
    assert '<script>' not in html and '&lt;script&gt;' in html


def test_long_tables_and_long_texts_are_cut():
    html = table([(f'metric {i}', 'x' * 10_000) for i in range(10_000)])
    assert len(html) < 100_000 and '10000 in all' in html


def test_a_large_picture_is_made_smaller():
    html = figure(np.zeros((3000, 1500, 3), np.uint8), '<b>"photo"</b>')
    assert '&lt;b&gt;&quot;photo&quot;&lt;/b&gt;' in html and '<b>' not in html
    data = base64.b64decode(html.partition('base64,')[2].partition('"')[0])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (640, 320, 3)
