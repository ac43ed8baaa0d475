"""The classifier that mmengine trains: backbone, BatchNorm, average pool, linear layer."""
import contextlib
from collections.abc import Callable

import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS, OPTIMIZERS
from timm.data import Mixup
from timm.layers import trunc_normal_
from timm.loss import SoftTargetCrossEntropy
from timm.optim import Lamb
from torch import Tensor

from ..backbones import MambaVision
from ..errors import ConfigError

with contextlib.suppress(KeyError):  # mmpretrain registers one of that name
    OPTIMIZERS.register_module(module=Lamb)


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone's last map -> BatchNorm -> average pool -> linear layer, as the published classifiers have it.

    Its state-dict keys are theirs, with 'backbone.' before all but `norm.*` and `head.*`; `create_model(pretrained=…)`
    reads its checkpoints.

    Args:
        backbone: config of a registered backbone, such as dict(type='MambaVision', out_indices=(3,), norm_layer=None).
        num_classes: at least 1.
        in_channels: of the backbone's last map. Default: taken from a MambaVision; required for other backbones.
        drop_rate: dropout before the linear layer. Default: 0.
        label_smoothing: of the cross entropy. Default: 0.
        mixup: arguments of `timm.data.Mixup`, such as dict(mixup_alpha=0.8, cutmix_alpha=1.0), for batches of even
            size. Default: none.
        data_preprocessor, init_cfg: as mmengine's `BaseModel`. Default: none.

    Attributes:
        extra_loss: function that a hook sets while training: from the augmented and mixed images and their logits to a
            dict of further losses; the cross entropy is then called loss_cls. None: no further loss.

    Returns:
        forward: of images ``(B, C, H, W)``, in mode 'tensor' logits ``(B, num_classes)``; 'loss' dict(loss=scalar);
        'predict' a list of dict(pred_scores=(num_classes,), summing up to 1, pred_label=scalar), and img_path.
    """

    def __init__(self, backbone: dict, num_classes: int, in_channels: int | None = None, drop_rate: float = 0.,
                 label_smoothing: float = 0., mixup: dict | None = None, data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ConfigError(f'num_classes must be a positive int, got {num_classes!r}')
        for name, value in (('drop_rate', drop_rate), ('label_smoothing', label_smoothing)):
            if not 0 <= value < 1:
                raise ConfigError(f'{name} must be in [0, 1), got {value!r}')
        self.backbone = MODELS.build(backbone)
        channels = in_channels
        if channels is None and isinstance(self.backbone, MambaVision):
            channels = self.backbone.num_features[self.backbone.out_indices[-1]]
        if channels is None:
            raise ConfigError(f"ImageClassifier: give in_channels, of the last map of {backbone['type']}")
        self.num_classes, self.drop_rate, self.label_smoothing = num_classes, drop_rate, label_smoothing
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        trunc_normal_(self.head.weight, std=.02)
        nn.init.zeros_(self.head.bias)
        self.mixup = None if mixup is None else Mixup(
            num_classes=num_classes, label_smoothing=label_smoothing, **mixup)
        self.extra_loss: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None

    def forward(self, inputs: Tensor, gt_label: Tensor | None = None, img_path=None, mode: str = 'tensor'):
        if mode == 'loss' and self.mixup is not None:
            if len(inputs) % 2:
                raise ConfigError(f'mixup pairs the images of a batch: train_dataloader.batch_size must be even, got '
                                  f'{len(inputs)}')
            inputs, targets = self.mixup(inputs.clone(), gt_label)
        logits = self._logits(inputs).float()
        if mode == 'loss':
            loss = F.cross_entropy(logits, gt_label, label_smoothing=self.label_smoothing) if self.mixup is None else \
                SoftTargetCrossEntropy()(logits, targets)
            return dict(loss=loss) if self.extra_loss is None else dict(
                loss_cls=loss, **self.extra_loss(inputs, logits))
        if mode == 'predict':
            scores = logits.softmax(-1)
            return [dict(pred_scores=s, pred_label=s.argmax(), img_path=path)
                    for s, path in zip(scores, img_path or [None] * len(scores))]
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        x = self.norm(self.backbone(x)[-1]).mean((2, 3))
        return self.head(F.dropout(x, self.drop_rate, self.training))
