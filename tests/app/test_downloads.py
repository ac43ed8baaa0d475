"""What the web page offers to download is what `infer` writes."""
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba.app.answers import Answer
from mmvision_mamba.app.downloads import write_picture, write_results


@pytest.mark.parametrize('task', ['Instances', 'Semantic map'])
def test_the_results_are_those_of_infer(task, models, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'photo.png'), image)
    answer = Answer(models[task], image)
    files = write_results(answer, tmp_path / 'page', 'photo.png')
    models[task](str(tmp_path / 'photo.png'), out_dir=tmp_path / 'infer')
    if task == 'Instances':
        assert [file.name for file in files] == ['results.json', 'boxes.json', 'images.json']
        for name in ('results.json', 'boxes.json'):
            ours, infers = (json.loads((tmp_path / place / name).read_text()) for place in ('page', 'infer/preds'))
            assert ours and len(ours) == len(infers)
            for one, other in zip(ours, infers):
                assert one.keys() == other.keys() and one.get('segmentation') == other.get('segmentation')
                assert one.get('bbox') == pytest.approx(other.get('bbox'))
                assert {key: one[key] for key in ('category_id', 'score', 'image_id')} == pytest.approx(
                    {key: other[key] for key in ('category_id', 'score', 'image_id')})
        header, infers = (json.loads((tmp_path / place).read_text()) for place in (
            'page/images.json', 'infer/preds/images.json'))
        assert header['images'] == [dict(infers['images'][0], file_name='photo.png')]
        assert header['categories'] == infers['categories']
    else:
        written, = files
        expected = Image.open(tmp_path / 'infer/preds/photo.png')
        assert np.array_equal(Image.open(written), expected) and Image.open(written).mode == expected.mode


@pytest.mark.parametrize('task', ['Instances', 'Semantic map'])
def test_results_have_the_size_of_the_upload(task, models, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (33, 80, 3), dtype=np.uint8)
    files = write_results(Answer(models[task], image, 0.5), tmp_path, 'a.b.png')
    if task == 'Instances':
        instance = json.loads(files[0].read_text())[0]
        assert instance['segmentation']['size'] == [66, 160]
        assert json.loads(files[-1].read_text())['images'][0]['width'] == 160
    else:
        assert files[0].name == 'a.b.png' and Image.open(files[0]).size == (160, 66)


def test_a_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(Image.open(write_picture(picture, tmp_path / 'new', 'x')), picture)


def test_a_panoptic_prediction_is_coco_s(models, tmp_path):
    from mmdet.structures import DetDataSample
    from mmengine.structures import PixelData
    answer = Answer(models['Instances'], np.zeros((20, 30, 3), np.uint8), 0.5)
    segments = torch.zeros((1, 20, 30), dtype=torch.long)
    segments[:, :, 15:], segments[:, :5] = 1002, 3  # 3 classes: void
    answer.sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=segments))
    picture, text = write_results(answer, tmp_path, 'x.jpg')
    content = json.loads(text.read_text())
    infos = content['annotations'][0]['segments_info']
    assert [info['area'] for info in infos] == [30 * 30, 30 * 30] and Image.open(picture).size == (60, 40)
    assert content['annotations'][0]['file_name'] == picture.name == 'x_panoptic.png'
