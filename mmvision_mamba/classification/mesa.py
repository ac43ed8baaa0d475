"""MESA (Du et al., "Sharpness-Aware Training for Free", arXiv 2205.14083): the average of the weights as a teacher."""
import torch
import torch.nn.functional as F
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from torch import Tensor

from ..engine.models import bare_model
from ..errors import ConfigError
from .model import ImageClassifier


@HOOKS.register_module()
class MESAHook(Hook):
    """Adds to the loss how far an `ImageClassifier`'s predictions are from those of `EMAHook`'s averaged weights.

    ``weight · KL(softmax(teacher / temperature) ‖ softmax(model / temperature))``, the mean over a batch, on the same
    augmented and mixed images; the teacher is in eval mode and gets no gradient. Logged as loss_mesa, beside loss_cls.

    Args:
        weight: of the term. Default: 0.5.
        begin: fraction of the training before the term is added, in [0, 1). Default: 0.25.
        temperature: softens both predictions. Default: 3.

    Raises:
        ConfigError: a value out of range; and before the training, where there is no `EMAHook` or no
            `ImageClassifier`.
    """

    def __init__(self, weight: float = 0.5, begin: float = 0.25, temperature: float = 3.):
        for name, value, valid in (('weight', weight, weight > 0), ('begin', begin, 0 <= begin < 1),
                                   ('temperature', temperature, temperature > 0)):
            if not valid:
                raise ConfigError(f'MESAHook: {name} must be {"in [0, 1)" if name == "begin" else "positive"}, got '
                                  f'{value!r}')
        self.weight, self.begin, self.temperature = weight, begin, temperature

    def before_train(self, runner):
        self._model = bare_model(runner.model)
        self._teacher = next((hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)), None)
        if self._teacher is None or not isinstance(self._model, ImageClassifier):
            raise ConfigError('MESAHook goes with an ImageClassifier and an EMAHook, whose average of the weights it '
                              "teaches by: add dict(type='EMAHook') to custom_hooks")

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._model.extra_loss = self._loss if runner.iter >= self.begin * runner.max_iters else None

    def after_train(self, runner):
        self._model.extra_loss = None

    def _loss(self, inputs: Tensor, logits: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher_logits = self._teacher.eval()(inputs)
        student, teacher = ((x / self.temperature).log_softmax(-1) for x in (logits, teacher_logits))
        return dict(loss_mesa=self.weight * F.kl_div(student, teacher, reduction='batchmean', log_target=True))
