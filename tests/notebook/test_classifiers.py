"""A classifier trained, saved, pushed and loaded, by `Model`, timm and transformers, with equal predictions."""
import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from mmvision_mamba import Inferencer, Model
from mmvision_mamba.commands import main
from mmvision_mamba.datasets import make_shapes
from mmvision_mamba.errors import ConfigError, DataError, UserError
from mmvision_mamba.sharing.folder import FILES, PREPROCESSOR

from ..helpers.fresh_start import forget_earlier_runs
from ..helpers.hub_server import hub_of_a_user, use
from ..helpers.small_configs import CLASSIFIER

PHOTO = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
CLASSES = ('ellipse', 'rectangle', 'triangle')


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes_objects'
    make_shapes(root, train=9, val=4, seed=0, size=(48, 64), kind='objects')
    return root


@pytest.fixture(scope='module')
def model(tmp_path_factory, objects):
    forget_earlier_runs()
    root = tmp_path_factory.mktemp('classifier')
    (root / 'classifier.py').write_text(CLASSIFIER)
    found = Model(root / 'classifier.py', data=objects, work_dir=root / 'work')
    found.train(batch=2, no_report=True, **{'train_cfg.max_iters': 2})
    found.test(no_report=True)
    return found


@pytest.fixture(scope='module')
def saved(model, tmp_path_factory):
    return model.save(tmp_path_factory.mktemp('saved') / 'classifier')


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_of_a_user(tmp_path, monkeypatch) as found:
        yield found


def scores(model) -> torch.Tensor:
    return model.predict(PHOTO)[0].pred_scores


def test_predictions_are_those_of_the_model_after_the_test_pipeline(model):
    sample, = model.predict(PHOTO)
    inputs, _ = model.inferencer()._prepare(PHOTO), None
    with torch.no_grad():
        expected = model.inferencer().model(inputs['inputs'][None]).softmax(-1)[0]
    torch.testing.assert_close(sample.pred_scores, expected)
    assert sample.pred_label == expected.argmax() and model.inferencer().classes == CLASSES
    several = model.predict([PHOTO, PHOTO[:40]], batch_size=2)
    torch.testing.assert_close(several[0].pred_scores, sample.pred_scores)
    assert several._repr_html_().count('data:image/jpeg;base64,') == 2
    with pytest.raises(ConfigError, match='preprocess is for detectors and segmentors'):
        model.inferencer().preprocess(PHOTO)
    kept = Inferencer(model.cfg, model.weights, classes=['triangle'], show_progress=False).predict(PHOTO)[0]
    assert kept.pred_label == 2 and kept.pred_scores.tolist() == [0, 0, sample.pred_scores[2].item()]


def test_a_saved_classifier_predicts_the_same_elsewhere(model, saved, objects, tmp_path):
    assert {path.name for path in saved.iterdir()} == {*FILES, PREPROCESSOR}
    text = (saved / 'config.json').read_text()
    assert str(objects) not in text and '/tmp' not in text and '/pytest' not in text
    again = Model.load(shutil.copytree(saved, tmp_path / 'copy'), data=objects, work_dir=tmp_path / 'work')
    assert torch.equal(scores(again), scores(model)) and again.inferencer().classes == CLASSES
    assert again.metrics == model.metrics and 'accuracy/top1' in again.metrics
    assert again.test(no_report=True) == model.metrics
    again.train(batch=2, no_report=True, **{'train_cfg.max_iters': 1})
    assert again.weights.endswith('.pth')
    twice = Model.load(tmp_path / 'copy', work_dir=tmp_path / 'other').save(tmp_path / 'twice', picture=False)
    assert (twice / 'model.safetensors').read_bytes() == (saved / 'model.safetensors').read_bytes()


def test_the_card_has_front_matter_that_the_hub_reads(saved):
    card = ModelCard((saved / 'README.md').read_text())
    assert card.data.pipeline_tag == 'image-classification' and card.data.license is None
    assert {result.metric_name for result in card.data.eval_results} == {'accuracy/top1'}
    assert 'timm.create_model' in card.text and 'transformers' in card.text and 'ellipse, rectangle' in card.text


def logits(model, size=64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(2, 3, size, size + 32)
    with torch.no_grad():
        return x, model.inferencer().model(x)


def test_timm_loads_it(model, saved):
    timm = pytest.importorskip('timm', '1.0.16', reason='the first with local-dir:')
    found = timm.create_model(f'local-dir:{saved}', pretrained=True).eval()
    x, expected = logits(model)
    torch.testing.assert_close(found(x), expected)
    settings = timm.data.resolve_model_data_config(found)
    assert ([*settings['input_size']], settings['crop_pct']) == ([3, 64, 64], 1.)
    assert found.pretrained_cfg['label_names'] == [*CLASSES]
    assert timm.create_model(f'local-dir:{saved}', pretrained=True, num_classes=7).head.out_features == 7


def test_transformers_loads_it(model, saved, tmp_path, objects):
    transformers = pytest.importorskip('transformers')
    import mmvision_mamba.transformers  # noqa: F401
    found = transformers.AutoModelForImageClassification.from_pretrained(saved).eval()
    x, expected = logits(model)
    torch.testing.assert_close(found(x).logits, expected)
    assert [*found.config.id2label.values()] == [*CLASSES]
    photo = sorted(objects.rglob('*.png'))[0]
    rows = transformers.pipeline('image-classification', model=str(saved))(str(photo))
    sample, = model.predict(str(photo))
    assert {row['label']: row['score'] for row in rows} == pytest.approx(
        dict(zip(CLASSES, sample.pred_scores.tolist())), abs=1e-5)
    found.save_pretrained(tmp_path / 'theirs')  # which is no model that Model.save saved
    assert not {'mmvision_mamba', 'architecture', 'label_names'} & {
        *json.loads((tmp_path / 'theirs/config.json').read_text())}
    with pytest.raises(ConfigError, match=r'it is of mambavision, not of a model that Model\.save saved'):
        Model.load(tmp_path / 'theirs')


def test_it_is_pushed_and_loaded_from_the_hub_by_all_three(model, server, tmp_path, monkeypatch):
    timm = pytest.importorskip('timm')
    assert model.push('someone/shapes', picture=False) == f'{server.url}/someone/shapes'
    assert set(server.files('someone/shapes')) == {'config.json', 'model.safetensors', 'README.md', PREPROCESSOR}
    loaded = Model.load('hf://someone/shapes', work_dir=tmp_path / 'work')
    assert torch.equal(scores(loaded), scores(model))
    x, expected = logits(model)
    torch.testing.assert_close(timm.create_model('hf-hub:someone/shapes', pretrained=True).eval()(x), expected)
    use(None, monkeypatch, tmp_path / 'home', offline=True)
    assert torch.equal(scores(Model.load('hf://someone/shapes', work_dir=tmp_path / 'again')), scores(model))


def test_infer_writes_classes_and_pictures(model, objects, tmp_path, capsys):
    photo = sorted(objects.rglob('*.png'))[0]
    config = model.work_dir / 'classifier.py'
    assert main('infer', [config, model.weights, photo, '--out-dir', tmp_path / 'out', '--device', 'cpu']) in (0, None)
    row, = json.loads((tmp_path / 'out/preds/classes.json').read_text())
    sample, = model.predict(str(photo))
    assert row['label'] == sample.pred_label and row['class'] == CLASSES[row['label']] and len(row['top']) == 3
    assert row['file_name'] == str(photo) and [*(tmp_path / 'out/vis').iterdir()]
    assert {path.name for path in (tmp_path / 'out/preds').iterdir()} == {'classes.json'}
    for command, *more in (('infer', '--tile', '64'), ('batch-infer', '--out', tmp_path / 'batch')):
        with pytest.raises(SystemExit) as stopped:
            main(command, [config, model.weights, photo, *more])
        assert stopped.value.code == 2 and 'is for detectors and segmentors' in capsys.readouterr().err
    assert not (tmp_path / 'batch').exists()


@pytest.mark.parametrize(('change', 'message'), [
    (lambda c: c['model'].update(type='BaseModel'), r"model\.type is 'BaseModel': expected ImageClassifier"),
    (lambda c: c['model'].update(num_classes=4), '4 classes, and config.json names 3|of another shape'),
    (lambda c: c['model'].update(num_classes=10**7), 'of a far larger model|another shape'),
    (lambda c: c['model']['backbone'].update(type='os.system'), r"backbone\.type is 'os\.system'"),
    (lambda c: c['model']['backbone'].update(type='TIMMBackbone'), 'reads or writes files of its own'),
    (lambda c: pack(c).update(input_size=10**6), 'PackImage: input_size is 1000000'),
    (lambda c: pack(c).update(crop_pct=1e-9), 'PackImage: input_size is 64 and crop_pct 1e-09'),
    (lambda c: pack(c).update(std=[0, 1, 1]), r'PackImage: std is \[0, 1, 1\]: expected numbers, above 0'),
    (lambda c: pack(c).update(tf_preprocessing=True), r'tf_preprocessing is .True.: a shared config reads'),
    (lambda c: pack(c).update(auto_augment='os.path'), r'auto_augment is .os\.path.: texts of a shared config'),
    (lambda c: c['custom_hooks'][0].update(ema_type='Lamb'), r"ema_type is 'Lamb': no class of that name")])
def test_hostile_configs_are_refused_in_a_line_or_two(saved, tmp_path, change, message):
    copy = shutil.copytree(saved, tmp_path / 'hostile')
    content = json.loads((copy / 'config.json').read_text())
    change(content['mmvision_mamba']['config'])
    (copy / 'config.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as raised:
        Model.load(copy, work_dir=tmp_path / 'work')
    assert len(str(raised.value).splitlines()) <= 3 and len(str(raised.value)) < 1500


def pack(config) -> dict:
    return config['test_dataloader']['dataset']['pipeline'][1]


@pytest.mark.parametrize(('settings', 'message'), [
    ({'model.backbone.type': 'mmdet.ResNet'}, r"backbone\.type is 'mmdet\.ResNet': a classifier is saved whose"),
    ({'test_dataloader.dataset.pipeline.1.normalize': False}, r'PackImage has normalize, for which timm'),
    ({'test_dataloader.dataset.pipeline.1.is_training': True}, r'PackImage has is_training')])
def test_what_timm_and_transformers_have_no_setting_for_is_named(model, tmp_path, settings, message):
    inferencer = model.inferencer()
    cfg = inferencer.cfg
    try:
        inferencer.cfg = cfg.copy()
        inferencer.cfg.merge_from_dict(settings)
        with pytest.raises(ConfigError, match=message):
            model.save(tmp_path / 'saved', picture=False)
    finally:
        inferencer.cfg = cfg
    assert not (tmp_path / 'saved').exists()


def test_an_ablations_classifier_is_timms_alone(tmp_path):
    (tmp_path / 'ablated.py').write_text(CLASSIFIER + "model['backbone']['mixer_branch'] = 'linear_gate'\n")
    from mmengine.registry import MODELS

    from mmvision_mamba.preflight.read import read_config
    torch.manual_seed(0)
    state = MODELS.build(read_config(tmp_path / 'ablated.py', find_data=False).model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=CLASSES))), tmp_path / 'w.pth')
    model = Model(tmp_path / 'ablated.py', tmp_path / 'w.pth', work_dir=tmp_path / 'work')
    saved = model.save(tmp_path / 'saved', picture=False)
    assert 'model_type' not in json.loads((saved / 'config.json').read_text())
    assert 'transformers' not in (saved / 'README.md').read_text()
    timm = pytest.importorskip('timm', '1.0.16', reason='the first with local-dir:')
    x, expected = logits(model)
    torch.testing.assert_close(timm.create_model(f'local-dir:{saved}', pretrained=True).eval()(x), expected)


def test_an_image_too_long_for_its_width_is_named(model):
    with pytest.raises(DataError, match=r'an image of 1 × 60000 pixels would have 245760000 with its shorter side'):
        model.predict(np.zeros((60000, 1, 3), np.uint8))
