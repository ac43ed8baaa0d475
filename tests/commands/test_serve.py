"""What `serve` refuses before anything is loaded."""
import socket

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('ray.serve', exc_type=ImportError)


@pytest.fixture
def fails(tool):
    def run(*arguments):
        result = tool(*arguments)
        assert result.code == 2 and 'Traceback' not in result.err, result.err[-3000:]
        return result.err
    return run


def test_options_that_can_not_be_are_named(fails, configs):
    model = (configs.detector, 'x.pth', '--device', 'cpu')
    for option, value, name in (('--port', '70000', '--port'), ('--queue', '-1', 'queue'),
                                ('--replicas', '0', 'replicas'),
                                ('--batch-size', '0', 'batch-size'), ('--batch-wait', '-3', 'batch-wait'),
                                ('--timeout', '0', 'timeout'), ('--max-megabytes', '0', 'max-megabytes'),
                                ('--max-megapixels', 'nan', 'max-megapixels')):
        assert f'{name}' in (message := fails('serve', *model, option, value)) and 'expected a number' in message
    assert '--replicas' in fails('serve', *model, '--replicas', '100000')
    assert '--device' in fails('serve', *model, '--device', 'cuda:0')
    assert 'expected its checkpoint after it' in fails('serve', configs.detector)
    assert 'config file not found: nowhere.py' in fails('serve', 'nowhere.py', 'x.pth')
    assert 'x.pth' in fails('serve', *model)


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(fails, configs):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f'--port {port}: can not listen there' in fails('serve', configs.detector, 'x.pth', '--device', 'cpu',
                                                                '--port', port)
