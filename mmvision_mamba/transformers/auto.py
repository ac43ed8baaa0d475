"""Makes transformers' Auto classes know MambaVision."""
from typing import Any

from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

from .configuration import MambaVisionConfig
from .image_processing import MambaVisionImageProcessor
from .modeling import MambaVisionBackbone, MambaVisionForImageClassification, MambaVisionModel


def register() -> None:
    """Register the classes; again after a reload."""
    AutoConfig.register(MambaVisionConfig.model_type, MambaVisionConfig, exist_ok=True)
    for auto, model in ((AutoModel, MambaVisionModel), (AutoBackbone, MambaVisionBackbone),
                        (AutoModelForImageClassification, MambaVisionForImageClassification)):
        auto.register(MambaVisionConfig, model, exist_ok=True)
    AutoImageProcessor.register(
        MambaVisionConfig, slow_image_processor_class=MambaVisionImageProcessor, exist_ok=True)
    _without_preprocessor_config()
    _with_out_proj()


def _without_preprocessor_config() -> None:
    """Let AutoImageProcessor, and so pipelines, take the published repositories.

    transformers 5.24 has no seam here: it wants a `preprocessor_config.json`, which they lack.
    """
    others = AutoImageProcessor.from_pretrained
    if getattr(others, 'takes_mambavision', False):
        return

    def from_pretrained(pretrained_model_name_or_path: Any, *inputs: Any, **kwargs: Any) -> Any:
        try:
            return others(pretrained_model_name_or_path, *inputs, **kwargs)
        except OSError as error:
            try:
                config = AutoConfig.from_pretrained(pretrained_model_name_or_path, **kwargs)
            except Exception:
                raise error from None
            if config.model_type != MambaVisionConfig.model_type:
                raise
            return MambaVisionImageProcessor.from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)
    from_pretrained.takes_mambavision = True  # type: ignore[attr-defined]
    AutoImageProcessor.from_pretrained = from_pretrained


def _with_out_proj() -> None:
    """Let a backbone's out_proj keep its name in detectors of transformers 5, which rename every out_proj they load."""
    try:
        from transformers.conversion_mapping import register_checkpoint_conversion_mapping
        from transformers.core_model_loading import WeightRenaming
    except ImportError:  # before transformers 5
        return

    class NamedAgain(WeightRenaming):
        """On loading alone: what is saved has the right name."""

        __slots__ = ()

        def reverse_transform(self) -> Any:
            return WeightRenaming('mixer.out_proj', 'mixer.out_proj')

    register_checkpoint_conversion_mapping(
        MambaVisionBackbone.__name__, [NamedAgain('mixer.o_proj', 'mixer.out_proj')], overwrite=True)
