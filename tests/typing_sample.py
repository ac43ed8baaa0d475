"""What a user's code looks like to a type checker: `make lint` has mypy read it, nothing runs it.

An `ignore` that is not needed is an error too: each one here says that mypy must object to its line.
"""
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from typing_extensions import assert_type

from mmvision_mamba import Inferencer, MambaVision, MM_mamba_vision, Model, create_model
from mmvision_mamba.backbones import MambaVisionClassifier
from mmvision_mamba.inference import Prediction, TiledPrediction
from mmvision_mamba.ops import selective_scan

backbone = MambaVision('tiny', out_indices=(2, 3), window_size=(14, None), scan_backend='chunked').eval()
assert_type(backbone, MambaVision)
assert_type(backbone.fuse(), MambaVision)
assert_type(backbone.forward(torch.rand(1, 3, 64, 64)), tuple[Tensor, ...])
assert_type(backbone.output_size(64), tuple[tuple[int, int, int], ...])
MambaVision('tiny', window_size='whole')  # type: ignore[arg-type]
MambaVision(out_indices='all')  # type: ignore[arg-type]
MambaVision(drop_path=0.2)  # type: ignore[call-arg]
assert issubclass(MM_mamba_vision, MambaVision)

assert_type(create_model('mambavision_tiny', num_classes=10, drop_rate=0.1), nn.Module)
create_model(num_classes='ten')  # type: ignore[arg-type]
assert_type(MambaVisionClassifier(num_classes=10).forward(torch.rand(1, 3, 64, 64)), Tensor)

u, A, B = torch.rand(2, 5, 4), -torch.rand(4, 3), torch.rand(2, 5, 3)
assert_type(selective_scan(u, u, A, B, B, delta_softplus=True), Tensor)
selective_scan(u, u, A, B, B, backend=None)  # type: ignore[arg-type]

inferencer = Inferencer('config.py', Path('checkpoint.pth'), classes=['cat'])
samples = inferencer.predict([Path('photo.jpg'), np.zeros((64, 64, 3), np.uint8)], batch_size=2)
assert_type(samples, list[BaseDataElement])
assert_type(inferencer.draw('photo.jpg', samples[0]), np.ndarray)
assert_type(inferencer(['photo.jpg', 0], out_dir='results'), dict[str, list])

model = Model('config.py', Path('checkpoint.pth'), data='folder')
assert_type(model.train(epochs=1, batch=2, lr=1e-4, amp=True), Model)
assert_type(model.predict('photo.jpg')[0], BaseDataElement)
assert_type(model.export('onnx', shape=(64, 64)), Path)
assert_type(Model.load('hf://owner/name').push('owner/other', private=True), str)
model.train(epochs='ten')  # type: ignore[arg-type]
for prediction, picture in inferencer.run('photos', return_vis=True):
    assert_type(prediction, Prediction | TiledPrediction)
    assert_type(picture, np.ndarray | None)
inferencer.predict('photo.jpg', batch_size='2')  # type: ignore[arg-type]
