"""Loops by tiles: pictures that are not what their annotations are for."""
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope

from mmvision_mamba.errors import DataError

pytest.importorskip('mmseg')


@pytest.mark.parametrize('tile', [100, 32])
@pytest.mark.parametrize('broken', [False, True])
def test_a_picture_of_another_size_than_its_outlines_is_refused(tile, broken, tmp_path):
    """One that fits in a tile, too."""
    from mmvision_mamba.inference.tiled.loops import TiledTestLoop
    init_default_scope('mmseg')
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    if broken:
        path.write_bytes(b'nothing')
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 9, 9], area=81, iscrowd=0,
                      segmentation=[[0, 0, 9, 0, 9, 9, 0, 9]])
    (tmp_path / 'a.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.png', width=80, height=60)], annotations=[annotation],
        categories=[dict(id=1, name='a')])))
    dataset = DATASETS.build(dict(
        type='mmvision_mamba.datasets.drawn_maps.DrawnMapDataset', data_root=str(tmp_path), ann_file='a.json',
        data_prefix=dict(img_path='', seg_map_path=''), metainfo=dict(classes=('background', 'a')), _scope_='mmseg',
        pipeline=[dict(type='LoadImageFromFile', ignore_empty=broken), dict(
            type='mmvision_mamba.datasets.map_loading.LoadAnnotations'), dict(type='PackSegInputs')]))
    loader = SimpleNamespace(dataset=dataset, sampler=[0], batch_size=1, collate_fn=None)
    runner = SimpleNamespace(model=torch.nn.Identity(), call_hook=lambda *args, **settings: None,
                             cfg=dict(default_scope='mmseg'), visualizer=SimpleNamespace())
    loop = TiledTestLoop(runner, loader, Evaluator([]), tile=tile)
    message = 'the image cannot be loaded' if broken else 'the image is 40 × 30 pixels, its annotations are for 80 × 60'
    with pytest.raises(DataError, match=rf'a\.png: {message}'):
        loop.run_iter(0, 0)
