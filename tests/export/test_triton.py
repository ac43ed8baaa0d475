"""Repositories for Triton: read by Triton's own schema, and run step by step as its ensembles are."""
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('tritonclient')
pytest.importorskip('mmdet')

import onnxruntime
from google.protobuf import text_format
from PIL import Image

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.export.triton import MARK, Repository, check_folder
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.inference import Inferencer


@pytest.fixture(scope='module')
def schema():
    """Triton's model_config.proto: a file of its client, whose package wants an older protobuf than this file."""
    path = Path(importlib.util.find_spec('tritonclient').submodule_search_locations[0], 'grpc', 'model_config_pb2.py')
    spec = importlib.util.spec_from_file_location('model_config_pb2', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def repositories(model_files, tmp_path_factory):
    """The repository of a detector, a segmentor and its backbone, of a height and a width that differ, by part."""
    from mmvision_mamba.commands import call
    folder, found = tmp_path_factory.mktemp('triton'), {}
    for part, options in (('detector', {}), ('segmentor', dict(fp16=True)), ('backbone', dict(batch=3))):
        files = model_files.detector if part == 'detector' else model_files.segmentor
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format='triton-repository',
             part=part, shape=(64, 128), out=folder / part, **options)
        found[part] = folder / part
    return found


def configs_of(path, schema) -> dict:
    """The configs of a repository by the names of their folders."""
    found = {}
    for file in sorted(path.glob('*/config.pbtxt')):
        found[file.parent.name] = text_format.Parse(file.read_text(), schema.ModelConfig())
    assert len(found) == len(list(path.iterdir()))
    return found


@pytest.mark.parametrize('part', ['detector', 'segmentor', 'backbone'])
def test_configs_are_of_tritons_schema_and_say_what_the_graphs_are(repositories, schema, part):
    for name, config in configs_of(repositories[part], schema).items():
        assert config.name == name and (repositories[part] / name / '1').is_dir()
        if config.platform == 'ensemble':
            continue
        assert config.backend == 'onnxruntime'
        session = onnxruntime.InferenceSession(str(repositories[part] / name / '1' / 'model.onnx'),
                                               providers=['CPUExecutionProvider'])
        for told, entries in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            assert [tensor.name for tensor in told] == [entry.name for entry in entries]
            for tensor, entry in zip(told, entries):
                kind = schema.DataType.Name(tensor.data_type).removeprefix('TYPE_')
                assert {'tensor(float)': 'FP32', 'tensor(int64)': 'INT64', 'tensor(uint8)': 'UINT8',
                        'tensor(bool)': 'BOOL'}[entry.type] == kind
                # A first axis that is open is what Triton wants of a model with a max_batch_size.
                assert not isinstance(entry.shape[0], int) and len(tensor.dims) == len(entry.shape) - 1
                assert all(dim == -1 or dim == side for dim, side in zip(tensor.dims, entry.shape[1:]))


@pytest.mark.parametrize('part', ['detector', 'segmentor', 'backbone'])
def test_an_ensemble_maps_all_inputs_and_no_tensor_in_vain(repositories, schema, part):
    configs = configs_of(repositories[part], schema)
    ensemble, = [config for config in configs.values() if config.platform == 'ensemble']
    tensors = {tensor.name: list(tensor.dims) for tensor in ensemble.input}
    used = set()
    for step in ensemble.ensemble_scheduling.step:
        model = configs[step.model_name]
        assert ensemble.max_batch_size <= model.max_batch_size
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) == {tensor.name for tensor in model.output}
        for tensor in model.input:
            dims = tensors[step.input_map[tensor.name]]  # made by an earlier step
            assert len(dims) == len(tensor.dims) and all(-1 in pair or pair[0] == pair[1]
                                                         for pair in zip(dims, tensor.dims))
            used.add(step.input_map[tensor.name])
        tensors.update({step.output_map[tensor.name]: list(tensor.dims) for tensor in model.output})
    outputs = {tensor.name for tensor in ensemble.output}
    assert outputs <= set(tensors) and set(tensors) == used | outputs
    assert [list(tensor.dims) for tensor in ensemble.input] == [[-1, -1, 3]]


def test_requests_are_batched_in_the_network_alone(repositories, schema):
    for part, most in (('detector', 8), ('backbone', 3)):
        for name, config in configs_of(repositories[part], schema).items():
            is_network = name.endswith('_network')
            assert config.max_batch_size == (most if is_network else 1)
            assert config.HasField('dynamic_batching') == is_network


def name_of(path) -> str:
    return min((entry.name for entry in path.iterdir()), key=len)


def test_a_repository_gives_what_the_checkpoint_does(repositories, model_files, tmp_path):
    # The config makes nothing else of an image of this size, so both sides see the same pixels.
    files = model_files.detector
    model = Inferencer(files.config, files.checkpoint, device='cpu', show_progress=False)
    run = Repository(name_of(repositories['detector']), 8, 17).load(repositories['detector'])
    path = tmp_path / 'a.png'
    Image.fromarray(verification_images((64, 128), 1, 3)[0]).save(path)
    expected, found = model.predict(path)[0].pred_instances, run(path)
    assert len(found.boxes) == len(expected) > 0 and found.classes == list(model.classes)
    np.testing.assert_allclose(np.sort(found.scores), np.sort(expected.scores.numpy()), atol=1e-3)
    assert found.masks.shape == (len(expected), 64, 128)


def test_images_of_several_sizes_at_once_give_what_each_gives(repositories):
    images = [verification_images(size, 1, seed)[0] for seed, size in enumerate([(50, 201), (64, 160), (200, 33)])]
    for part in ('detector', 'segmentor', 'backbone'):
        repository = Repository(name_of(repositories[part]), 8, 17)
        run = repository.load(repositories[part]).session.run
        for image, found in zip(images, repository.together(repositories[part], images)):
            alone = run(dict(image=image))
            assert len(found) == len(alone)
            for one, other in zip(alone, found):
                if one.dtype.kind == 'f':
                    np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(one).max())
                else:
                    assert one.shape == other.shape and (one == other).mean() > 0.99


def test_the_ensembles_parameters_are_the_metadata(repositories, schema):
    path = repositories['segmentor']
    parameters = configs_of(path, schema)[name_of(path)].parameters
    metadata = json.loads((path / name_of(path) / 'metadata.json').read_text())
    assert {key: value.string_value for key, value in parameters.items()} == metadata
    assert json.loads(metadata['classes']) == ['background', 'ellipse', 'rectangle', 'triangle']


@pytest.mark.parametrize('text', ['plain', 'quote " and \\ back', 'späte Äpfel 木', 'line\nfeed\t\0end', '\x7f\x80'])
def test_any_text_survives_protobufs_format(schema, text):
    from mmvision_mamba.export.triton import _text
    config = text_format.Parse(f'name: {_text(text)}', schema.ModelConfig())
    assert config.name == text


def test_a_repository_replaces_one_of_the_same_model_and_nothing_else(model_files, tmp_path):
    from mmvision_mamba.commands import call
    files, out = model_files.segmentor, tmp_path / 'r'
    options = dict(config=str(files.config), checkpoint=str(files.checkpoint), format='triton-repository',
                   shape=(32, 32), out=out)
    out.mkdir()
    (out / 'mine.txt').write_text('x')
    with pytest.raises(ConfigError, match=r"mine\.txt' is not of this model's repository"):
        call('export', **options)
    assert (out / 'mine.txt').read_text() == 'x'
    (out / 'mine.txt').unlink()
    call('export', **options)
    graph = out / 'segmentor_network' / '1' / 'model.onnx'
    before = graph.stat().st_ino
    call('export', **options)
    assert graph.stat().st_ino != before and {path.name for path in tmp_path.iterdir()} == {'r'}


@pytest.mark.parametrize('file', [
    'b/config.pbtxt', 'a_network/2/model.plan', 'a_network/1/model.plan', 'a_network/config.pbtxt.orig', 'a/warmup/x',
    'a_network/1/deep/model.onnx', 'a_other/config.pbtxt', 'mine'])
def test_what_another_export_or_the_user_put_into_a_repository_is_not_replaced(file, tmp_path):
    """A Triton repository holds several models, of several exports, and of each several versions."""
    for model in ('a', 'a_network', 'a_other', 'b'):
        (tmp_path / 'r' / model / '1').mkdir(parents=True)
    for model in ('a', 'a_network'):
        (tmp_path / 'r' / model / 'config.pbtxt').write_text(f'{MARK}\n')
    (tmp_path / 'r' / 'a' / 'metadata.json').touch()
    (tmp_path / 'r' / 'a_network' / '1' / 'model.onnx').touch()
    check_folder(tmp_path / 'r', 'a')
    path = tmp_path / 'r' / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{MARK}\n')
    with pytest.raises(ConfigError, match='is not of this model') as error:
        check_folder(tmp_path / 'r', 'a')
    assert str(path) in str(error.value)


def test_folders_of_others_are_told_apart(tmp_path):
    check_folder(tmp_path / 'new', 'a')
    check_folder(tmp_path, 'a')
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'config.pbtxt').write_text('name: "another server\'s"\n')
    with pytest.raises(ConfigError, match='name another one'):
        check_folder(tmp_path, 'a')
    for path in (Path(), Path('..'), tmp_path / '..', Path('/')):
        with pytest.raises(ConfigError, match='names no folder to make'):
            check_folder(path, 'a')
    with pytest.raises(ConfigError, match='is no folder'):
        check_folder(tmp_path / 'a' / 'config.pbtxt', 'a')


def test_links_to_folders_are_not_replaced(tmp_path):
    """A version that lies elsewhere would go with what is replaced; so would the way to the repository itself."""
    repository, elsewhere = tmp_path / 'r', tmp_path / 'elsewhere'
    for folder in (repository / 'a', elsewhere):
        folder.mkdir(parents=True)
    (repository / 'a' / 'config.pbtxt').write_text(f'{MARK}\n')
    check_folder(repository, 'a')
    (repository / 'a' / '2').symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r'a/2.* is not of this model'):
        check_folder(repository, 'a')
    (tmp_path / 'link').symlink_to(elsewhere)
    with pytest.raises(ConfigError, match='is a link'):
        check_folder(tmp_path / 'link', 'a')


@pytest.mark.parametrize('options, message', [
    (dict(dynamic='all'), 'goes without --dynamic'), (dict(int8='static'), '--int8 is for'),
    (dict(batch=0), '--batch must be at least 1')])
def test_options_that_it_does_not_have_are_named(model_files, tmp_path, options, message):
    from mmvision_mamba.commands import call
    files = model_files.segmentor
    with pytest.raises(ConfigError, match=message):
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format='triton-repository',
             out=tmp_path / 'r', **options)


def test_a_name_that_triton_has_no_address_for_is_refused():
    with pytest.raises(ConfigError, match='rename the config'):
        Repository('my model', 8, 17)
