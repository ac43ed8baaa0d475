"""This package's modules as transformers' models.

Each model holds one of them as its `model`, so that its keys are the published ones after 'model.', as in the published
repositories.
"""
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)

from ..backbones import MambaVision, MambaVisionClassifier
from ..backbones.mambavision import init_linear
from ..errors import CheckpointError
from ..printable import shown
from .configuration import MambaVisionConfig

try:
    from transformers.backbone_utils import BackboneMixin
except ImportError:  # before transformers 5
    from transformers.utils.backbone_utils import BackboneMixin


class MambaVisionPreTrainedModel(PreTrainedModel):
    """What the models have in common: loading, initialisation, gradient checkpointing."""

    config_class = MambaVisionConfig
    base_model_prefix = 'model'  # so weights without it load too, as timm's repositories have them
    main_input_name = 'pixel_values'
    supports_gradient_checkpointing = True
    _no_split_modules = ['ConvBlock', 'Block']

    model: Any  # a MambaVision

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, ignore_mismatched_sizes: bool = False,
                        **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`; raises CheckpointError (a RuntimeError) for weights of other sizes."""
        # transformers words that error otherwise in each version, and at length: it is told to go on, and asked then.
        with _held_back() as reports:
            model, info = super().from_pretrained(*args, output_loading_info=True, ignore_mismatched_sizes=True,
                                                  **kwargs)
        if info['mismatched_keys'] and not ignore_mismatched_sizes:
            raise CheckpointError(_mismatch(model.config, sorted(info['mismatched_keys'])))
        for report in reports:
            logging.getLogger(report.name).handle(report)
        model.model.to(memory_format=torch.channels_last)  # loading replaces the parameters that had it
        return (model, info) if output_loading_info else model

    def get_input_embeddings(self) -> nn.Module:
        return self.model.patch_embed

    @property
    def gradient_checkpointing(self) -> bool:  # transformers sets it on each module that has it
        return any(level.with_cp for level in self.model.levels)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enable: bool) -> None:
        for level in self.model.levels:
            level.with_cp = enable

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module's own tensors as a model built anew has them, but for those that a file held."""
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        loaded = [(tensor, tensor.clone()) for tensor in tensors if getattr(tensor, '_is_hf_initialized', False)]
        if isinstance(module, nn.Linear):
            init_linear(module)
        elif callable(reset := getattr(module, 'reset_parameters', None)):
            reset()
        for tensor, value in loaded:
            tensor.copy_(value)

    def _settings(self, output_hidden_states: bool | None, return_dict: bool | None) -> tuple[bool, bool]:
        """Both arguments of `forward`, or what the config says of them."""
        return (self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
                self.config.return_dict if return_dict is None else return_dict)


class MambaVisionModel(MambaVisionPreTrainedModel):
    """MambaVision with the norm and pooling of the published classifiers, but without their linear layer.

    Returns:
        forward: ``(B, num_channels, H, W)`` -> last_hidden_state ``(B, 8 · dim, H/32, W/32)``, normed; pooler_output
        ``(B, 8 · dim)``; hidden_states, with output_hidden_states: the four stages' maps, without norm.
    """

    _keys_to_ignore_on_load_unexpected = [r'model\.head\.', r'model\.outnorm\d\.']

    def __init__(self, config: MambaVisionConfig):
        super().__init__(config)
        self.model = MambaVisionClassifier(config.arch, num_classes=0, window_padding=config.window_padding)
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None
                ) -> BaseModelOutputWithPoolingAndNoAttention | tuple:
        output_hidden_states, return_dict = self._settings(output_hidden_states, return_dict)
        last, stages = _stages(self.model, pixel_values.to(self.dtype), output_hidden_states)
        output = BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=last, pooler_output=self.model.forward_head(last, pre_logits=True), hidden_states=stages)
        return output if return_dict else output.to_tuple()


class MambaVisionForImageClassification(MambaVisionPreTrainedModel):
    """A published classifier, or one for other classes.

    Returns:
        forward: ``(B, num_channels, H, W)`` -> logits ``(B, num_labels)``; loss, with labels ``(B,)``, or
        ``(B, num_labels)`` for problem_type='multi_label_classification'; hidden_states as `MambaVisionModel`.
    """

    _keys_to_ignore_on_load_unexpected = [r'model\.outnorm\d\.']

    def __init__(self, config: MambaVisionConfig):
        super().__init__(config)
        self.loss_type = 'ForSequenceClassification'  # transformers 4.50 has no other name for that of images
        self.num_labels = config.num_labels
        self.model = MambaVisionClassifier(config.arch, config.num_labels, window_padding=config.window_padding)
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, output_hidden_states: bool | None = None,
                return_dict: bool | None = None) -> ImageClassifierOutputWithNoAttention | tuple:
        output_hidden_states, return_dict = self._settings(output_hidden_states, return_dict)
        last, stages = _stages(self.model, pixel_values.to(self.dtype), output_hidden_states)
        logits = self.model.forward_head(last)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        output = ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=stages)
        return output if return_dict else output.to_tuple()


class MambaVisionBackbone(BackboneMixin, MambaVisionPreTrainedModel):
    """`MambaVision` for transformers' detectors and segmentors.

    Returns:
        forward: ``(B, num_channels, H, W)`` -> feature_maps: ``(B, dim · 2^i, H/2^(i+2), W/2^(i+2))`` of each stage i
        of out_indices, normed by norm_layer; hidden_states, with output_hidden_states: the maps of the stages up to the
        last of them, without norm.
    """

    has_attentions = False
    _keys_to_ignore_on_load_missing = [r'model\.outnorm\d\.']  # ImageNet files have none
    _keys_to_ignore_on_load_unexpected = [r'model\.norm\.', r'model\.head\.']

    def __init__(self, config: MambaVisionConfig):
        super().__init__(config)
        if hasattr(self, '_init_backbone'):  # before transformers 5
            self._init_backbone(config)
        stages = [config.stage_names.index(name) for name in config.out_features or ()]
        self.model = MambaVision(config.arch, stages, window_padding=config.window_padding,
                                 norm_layer=config.norm_layer)
        self.num_features = self.model.num_features
        last = stages[-1]
        unbuilt = [rf'model\.levels\.{i}\.' for i in range(last + 1, 4)] + [rf'model\.levels\.{last}\.downsample\.']
        self._keys_to_ignore_on_load_unexpected = [*self._keys_to_ignore_on_load_unexpected, *unbuilt * (last < 3)]
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None
                ) -> BackboneOutput | tuple:
        output_hidden_states, return_dict = self._settings(output_hidden_states, return_dict)
        pixel_values = pixel_values.to(self.dtype)
        stages = None
        if output_hidden_states:
            stages = tuple(self.model.stages(pixel_values))
            maps = tuple(self.model.normed(i, stages[i]) for i in self.model.out_indices)
        else:
            maps = self.model(pixel_values)
        output = BackboneOutput(feature_maps=maps, hidden_states=stages)
        return output if return_dict else output.to_tuple()


def _stages(model: MambaVisionClassifier, x: Tensor, intermediates: bool) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    """The normed map of the last stage, and the maps of all, or None."""
    if not intermediates:
        return model.forward_features(x), None
    last, stages = model.forward_intermediates(x)
    return last, tuple(stages)


@contextlib.contextmanager
def _held_back() -> Iterator[list[logging.LogRecord]]:
    """Within it, what transformers reports of loading is kept in a list, and given out if there is another error."""
    records: list[logging.LogRecord] = []
    logger = logging.getLogger('transformers.modeling_utils')

    def hold(record: logging.LogRecord) -> bool:
        records.append(record)
        return False
    logger.addFilter(hold)
    try:
        yield records
    except BaseException:
        logger.removeFilter(hold)
        for record in records:
            logger.handle(record)
        raise
    finally:
        logger.removeFilter(hold)


def _mismatch(config: MambaVisionConfig, keys: Sequence[tuple]) -> str:
    """What to say of weights of other sizes: (key, shape in the file, shape in the model) of each."""
    key, file, model = keys[0]
    where = f"'{shown(config.name_or_path)}': " if config.name_or_path else ''
    if all(part.split('.')[-2] == 'head' for part, *_ in keys):
        return (f'{where}its weights are of {file[0]} classes, and num_labels is {model[0]}.\nPass '
                'ignore_mismatched_sizes=True to have a new linear layer, which is to be trained')
    others = f', and {len(keys) - 1} others' if len(keys) > 1 else ''
    return (f'{where}{shown(key)} is {tuple(file)} in its weights and {tuple(model)} by its config{others}.\nUse the '
            'config of these weights; or pass ignore_mismatched_sizes=True to have new ones, which are to be trained')
