"""Attention-based distillation (section 5.5 of the survey), in four meanings of the word.

*Where a network looks.* Spatial attention (`kdnb.losses.attention_transfer`, `self_attention` and
others of section 2.2), channels and guided targets (`maps`), input gradients (`jacobians`). *Which
layers are paired*: `maps.FEATURE_MATCHING`, and SemCKD and ALP-KD in the catalogue. *Whom to
trust*: weights over teachers, in `kdnb.methods.multi_teacher`, and over `rules`. *Self-attention
itself*: `transformers` teaches what a transformer attends to (MiniLM, TinyBERT); `heads` reads it
out of any transformer, `lessons` defines what is compared, and `masked` is the control without a
teacher.
"""

from kdnb.methods.attention.heads import Heads, attention_layers, attention_of
from kdnb.methods.attention.jacobians import input_gradients, match_jacobians
from kdnb.methods.attention.lessons import Remembered
from kdnb.methods.attention.maps import CHANNELS, FEATURE_MATCHING, GUIDED
from kdnb.methods.attention.masked import model_masked_words
from kdnb.methods.attention.rules import distil_rules
from kdnb.methods.attention.transformers import distil_attention

__all__ = [
    "CHANNELS",
    "FEATURE_MATCHING",
    "GUIDED",
    "Heads",
    "Remembered",
    "attention_layers",
    "attention_of",
    "distil_attention",
    "distil_rules",
    "input_gradients",
    "match_jacobians",
    "model_masked_words",
]
