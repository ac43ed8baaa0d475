import os
import sys

import pytest
from PIL import Image

pytest.importorskip('gradio', reason="pip install 'mmvision-mamba[app]'")

from mmvision_mamba.commands import demo_app, main


@pytest.mark.skipif(sys.platform == 'win32', reason='FIFOs')
@pytest.mark.timeout(60)
def test_examples_are_pictures_alone(models, tmp_path, monkeypatch, capsys):
    """Visitors get these files as they are: a link in a folder from elsewhere could name any file."""
    (folder := tmp_path / 'examples').mkdir()
    Image.new('RGB', (32, 32)).save(folder / 'good.png')
    (tmp_path / 'secret.txt').write_text('secret')
    (folder / 'a.jpg').symlink_to(tmp_path / 'secret.txt')
    (folder / 'page.png').write_text('<html>')
    os.mkfifo(folder / 'fifo.jpg')

    def build_page(models, examples, *args, **options):
        raise OSError(0, 'stop', str([path.name for path in examples]))
    monkeypatch.setattr(demo_app, '_load_models', lambda args: models)
    monkeypatch.setattr('mmvision_mamba.app.page.build_page', build_page)
    for given, said in ((folder, "['good.png']"), (folder / 'fifo.jpg', 'it is a FIFO')):
        with pytest.raises(SystemExit, match='2'):
            main(None, ['demo-app', '--examples', str(given)])
        assert said in capsys.readouterr().err
