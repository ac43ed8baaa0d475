"""Model, data set, transform and metric of classification, each against a reference."""
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image

pytest.importorskip('mmengine')
pytest.importorskip('mmcv')

from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS, init_default_scope

from mmvision_mamba import create_model
from mmvision_mamba.datasets import CLASSES, make_shapes
from mmvision_mamba.errors import ConfigError, DataError

from ..data.golden.weights import fill, image

ARCH = dict(dim=16, in_dim=32, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
BACKBONE = dict(type='MambaVision', arch=ARCH, out_indices=(3,), norm_layer=None)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmengine')


def classifier(**options):
    return MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE, num_classes=5, **options))


def pixels(*size):
    return torch.from_numpy(image(*size))


# The model ---------------------------------------------------------------------------------------------------------

def test_it_is_the_published_classifier():
    arch = {k: v for k, v in ARCH.items() if k != 'in_dim'}  # the variant's own
    published = fill(create_model('mambavision_tiny', num_classes=5, **arch))
    model = classifier()
    state = {k if k.startswith(('norm', 'head')) else f'backbone.{k}': v for k, v in published.state_dict().items()}
    model.load_state_dict(state)
    x, labels = pixels(4, 64, 64), torch.tensor([0, 4, 2, 2])
    logits = published.eval()(x)
    torch.testing.assert_close(model.eval()(x), logits)
    predictions = model(x, labels, ['a', 'b', 'c', 'd'], mode='predict')
    torch.testing.assert_close(torch.stack([p['pred_scores'] for p in predictions]), logits.softmax(-1))
    assert [p['pred_label'].item() for p in predictions] == logits.argmax(-1).tolist()
    assert [p['img_path'] for p in predictions] == ['a', 'b', 'c', 'd']
    torch.testing.assert_close(model(x, labels, mode='loss')['loss'], F.cross_entropy(logits, labels))
    smooth = classifier(label_smoothing=0.3).eval()
    smooth.load_state_dict(state)
    targets = 0.7 * F.one_hot(labels, 5) + 0.3 / 5
    expected = -(targets * logits.log_softmax(-1)).sum(1).mean()
    torch.testing.assert_close(smooth(x, labels, mode='loss')['loss'], expected)


def test_mixup_mixes_images_and_labels():
    """timm's mixup of a batch with its reverse, here checked by hand."""
    model, lam = classifier(mixup=dict(mixup_alpha=1., cutmix_alpha=0.)).eval(), 0.25
    x, labels = pixels(4, 64, 64), torch.arange(4)
    before = x.clone()
    model.mixup._params_per_batch = lambda: (lam, False)
    loss = model(x, labels, mode='loss')['loss']
    logits = model(lam * x + (1 - lam) * x.flip(0))
    expected = sum(w * F.cross_entropy(logits, t) for w, t in ((lam, labels), (1 - lam, labels.flip(0))))
    torch.testing.assert_close(loss, expected)
    assert torch.equal(x, before), 'the caller\'s images'
    with pytest.raises(ConfigError, match=r'batch_size must be even, got 3'):
        model(x[:3], labels[:3], mode='loss')


def test_dropout_and_other_backbones():
    model = classifier(drop_rate=0.5).train()
    torch.nn.init.constant_(model.head.weight, 0.)
    torch.nn.init.constant_(model.norm.weight, 0.)
    torch.nn.init.constant_(model.norm.bias, 1.)
    model.head.weight.data[:, :1] = 1.  # logits are the first pooled channel: 0, or 1 over what is kept
    assert set(model(pixels(16, 32, 32)).unique().tolist()) == {0., 2.}

    class Pixels(torch.nn.Module):
        def forward(self, x):
            return (x,)
    MODELS.register_module('PixelsForTest', force=True, module=Pixels)
    build = dict(type='ImageClassifier', backbone=dict(type='PixelsForTest'), num_classes=2)
    assert MODELS.build(dict(build, in_channels=3))(pixels(2, 32, 32)).shape == (2, 2)
    with pytest.raises(ConfigError, match='give in_channels, of the last map of PixelsForTest'):
        MODELS.build(build)
    early = MODELS.build(dict(build, backbone=dict(BACKBONE, out_indices=(1, 2))))
    assert early(pixels(2, 32, 32)).shape == (2, 2) and early.head.in_features == 64


@pytest.mark.parametrize(('options', 'message'), [
    (dict(num_classes=0), 'num_classes'), (dict(drop_rate=1.), 'drop_rate'), (dict(label_smoothing=-1.), 'smoothing')])
def test_what_can_not_be(options, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE, **dict(dict(num_classes=2), **options)))


# Data --------------------------------------------------------------------------------------------------------------

def save(path, size=(40, 30), mode='RGB'):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (*size[::-1], 4), np.uint8)
    Image.fromarray(pixels, 'RGBA').convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ('train/a cat/1.png', 'train/a cat/deep er/2.JPG', 'train/dog/3.png', 'val/a cat/1.png'):
        save(tmp_path / name)
    (tmp_path / 'train/dog/notes.txt').write_text('no image')
    return tmp_path


def dataset(root, split='train', **options):
    return DATASETS.build(dict(type='ImageFolder', data_root=str(root), data_prefix=dict(img_path=split), **options))


def test_image_folder(folder):
    found = dataset(folder)
    assert found.metainfo['classes'] == ('a cat', 'dog')
    assert [(d['img_path'].split('train/')[1], d['gt_label']) for d in found] == [
        ('a cat/1.png', 0), ('a cat/deep er/2.JPG', 0), ('dog/3.png', 1)]
    swapped = dataset(folder, metainfo=dict(classes=('dog', 'a cat')))
    assert [d['gt_label'] for d in swapped] == [0, 1, 1]


def test_image_folder_agrees_with_torchvisions(folder):
    reference = torchvision.datasets.ImageFolder(str(folder / 'train'))
    assert [(d['img_path'], d['gt_label']) for d in dataset(folder)] == reference.samples


@pytest.mark.parametrize(('change', 'message'), [
    ('no folder', r'nowhere: no such folder'), ('flat', 'one folder per class'), ('empty class', 'no image in bird'),
    ('classes', "no folder for bird; folders that .* lacks: a cat")])
def test_image_folder_that_is_none(change, message, folder):
    options = {}
    if change == 'empty class':
        (folder / 'train/bird').mkdir()
    elif change == 'flat':
        save(folder / 'flat/1.png')
        options['split'] = 'flat'
    elif change == 'no folder':
        options['split'] = 'nowhere'
    else:
        options['metainfo'] = dict(classes=('dog', 'bird'))
    with pytest.raises(DataError, match=message):
        dataset(folder, **options)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA', 'P'])
def test_test_images_are_timms(mode, tmp_path):
    """Decoded, resized, cropped and normalised as `timm.data.create_transform` of the published settings does."""
    save(tmp_path / 'x' / 'picture 1.png', (150, 97), mode)
    path = str(tmp_path / 'x' / 'picture 1.png')
    config = timm.data.resolve_model_data_config(timm.create_model('mambavision_small', arch=ARCH))
    expected = timm.data.create_transform(**config)(Image.open(path).convert('RGB'))
    load, pack = (TRANSFORMS.build(cfg) for cfg in (
        dict(type='LoadImageFromFile', imdecode_backend='pillow'), dict(type='PackImage', crop_pct=0.93)))
    found = pack(load(dict(img_path=path, gt_label=3)))
    assert found['gt_label'] == 3 and found['img_path'] == path
    if mode == 'RGBA':  # what lies behind transparent pixels is mmcv's choice
        assert found['inputs'].shape == expected.shape
    else:
        torch.testing.assert_close(found['inputs'], expected)


def test_training_images_are_augmented():
    pack = TRANSFORMS.build(dict(type='PackImage', input_size=(32, 48), is_training=True, re_prob=1.,
                                 auto_augment='rand-m9-mstd0.5-inc1'))
    picture = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    a, b = (pack(dict(img=picture, gt_label=0, img_path=''))['inputs'] for _ in range(2))
    assert a.shape == (3, 32, 48) and not torch.equal(a, b)
    with pytest.raises(ConfigError, match=r"no argument 'crop_pc' .did you mean 'crop_pct'"):
        TRANSFORMS.build(dict(type='PackImage', crop_pc=0.9))


def test_shapes_objects(tmp_path):
    """The same drawing as the scenes', one shape to an image, as many of each class, and others for another split."""
    recipe = dict(train=7, val=3, seed=2, size=(48, 64), kind='objects')
    assert make_shapes(tmp_path / 'objects', **recipe) and not make_shapes(tmp_path / 'objects', **recipe)
    with pytest.raises(DataError, match='another Shapes data set'):
        make_shapes(tmp_path / 'objects', **{**recipe, 'kind': 'scenes'})
    train, val = dataset(tmp_path / 'objects'), dataset(tmp_path / 'objects', 'val')
    assert train.metainfo['classes'] == val.metainfo['classes'] == CLASSES
    assert [d['gt_label'] for d in train] == [0, 0, 0, 1, 1, 2, 2] and [d['gt_label'] for d in val] == [0, 1, 2]
    images = [np.asarray(Image.open(d['img_path'])) for d in [*train, *val]]
    assert {i.shape for i in images} == {(48, 64, 3)} and len({i.tobytes() for i in images}) == 10
    for wrong, message in ((dict(kind='object'), 'kind must be one of'), (dict(val=2), 'one per class')):
        with pytest.raises(DataError, match=message):
            make_shapes(tmp_path / 'other', **{**recipe, **wrong})


# The metric --------------------------------------------------------------------------------------------------------

def test_accuracy():
    scores, labels = torch.rand(200, 10, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10
    metric = METRICS.build(dict(type='Accuracy', topk=(1, 3)))
    for part in (slice(0, 150), slice(150, 200)):
        metric.process(dict(gt_label=labels[part]), [dict(pred_scores=s) for s in scores[part]])
    found = metric.evaluate(200)
    for k in (1, 3):
        expected = (scores.topk(k).indices == labels[:, None]).any(1).float().mean().item()
        assert found[f'accuracy/top{k}'] == pytest.approx(100 * expected, abs=1e-4)
    metric.process(dict(gt_label=labels[:2]), [dict(pred_scores=torch.zeros(10))] * 2)
    assert metric.evaluate(2)['accuracy/top1'] == 0
    with pytest.raises(ConfigError, match='top 3 of 2 classes'):
        metric.process(dict(gt_label=labels[:1]), [dict(pred_scores=torch.zeros(2))])
    with pytest.raises(ConfigError, match='topk'):
        METRICS.build(dict(type='Accuracy', topk=(0,)))
