import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmengine')
pytest.importorskip('mmdet')

from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmvision_mamba.visualization import draw_comparison

SIZE = 64
PALETTE = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]


def samples(path, score):
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, 16:48, 8:40] = 1
    truth = dict(bboxes=torch.tensor([[8., 16., 40., 48.]]), labels=torch.tensor([1]))
    detection = DetDataSample(metainfo={'img_path': str(path)})
    detection.gt_instances = InstanceData(**truth, masks=BitmapMasks(mask, SIZE, SIZE))
    detection.pred_instances = InstanceData(**truth, masks=torch.tensor(mask, dtype=bool), scores=torch.tensor([score]))
    segmentation = BaseDataElement()
    segmentation.gt_sem_seg = PixelData(data=2 * torch.tensor(mask).long())
    segmentation.pred_sem_seg = PixelData(data=torch.zeros(1, SIZE, SIZE, dtype=torch.long))
    return [detection], [segmentation]


def blue_part(tile):
    """Share of pixels that are rather blue than grey or red; BGR."""
    return (tile[..., 0].astype(int) - tile[..., 2] > 60).mean()


@pytest.mark.parametrize('score, drawn', [(0.9, True), (0.2, False)])
def test_truth_and_prediction_stand_side_by_side(score, drawn, tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), np.full((SIZE, SIZE, 3), 128, np.uint8))
    out = tmp_path / 'new' / 'comparison.png'
    draw_comparison(out, *samples(tmp_path / 'image.png', score), ('background', 'a', 'b'), PALETTE)
    picture = cv2.imread(str(out))
    middle = picture[picture.shape[0] // 4:picture.shape[0] * 3 // 5]
    image, true_instances, predicted_instances, true_map, predicted_map = (
        blue_part(tile) for tile in np.array_split(middle, 5, axis=1))
    assert image == 0
    assert true_instances > 0.2
    assert bool(predicted_instances > 0.2) == drawn
    assert true_map > 0.2
    assert predicted_map < 0.01
