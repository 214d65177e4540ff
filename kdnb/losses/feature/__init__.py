"""Feature-based knowledge (section 2.2): the student imitates the teacher's inner layers.

Every loss is for one pair of layers and takes maps (batch, channels, height, width); sum over
pairs yourself. It is computed in float32 at least (float64 stays float64) whatever the autocast
mode and averaged over the batch; gradients flow into the teacher's maps too unless detached.
Numbers of equations and sections are recalled; what else is not confirmed stands under Departures.
"""

from kdnb.losses.feature.activation import (
    activation_boundary,
    depth_weights,
    neuron_selectivity,
    overhaul,
    overhaul_margin,
)
from kdnb.losses.feature.attention import (
    SemanticCalibration,
    attention_map,
    attention_transfer,
    class_activation_maps,
    class_attention,
    layer_projection,
    semantic_calibration,
)
from kdnb.losses.feature.hints import (
    Paraphraser,
    ReusedClassifierProjector,
    Translator,
    channel_statistics,
    factor_transfer,
    feature_statistics,
    hint,
    paraphrase_reconstruction,
    restyle,
    reused_classifier,
)
from kdnb.losses.feature.parameters import parameter_distribution, parameter_histogram
from kdnb.losses.feature.review import AttentionFusion, ReviewFusion, hierarchical_context
from kdnb.losses.feature.variational import VariationalRegressor, variational_information

__all__ = [
    "AttentionFusion",
    "Paraphraser",
    "ReusedClassifierProjector",
    "ReviewFusion",
    "SemanticCalibration",
    "Translator",
    "VariationalRegressor",
    "activation_boundary",
    "attention_map",
    "attention_transfer",
    "channel_statistics",
    "class_activation_maps",
    "class_attention",
    "depth_weights",
    "factor_transfer",
    "feature_statistics",
    "hierarchical_context",
    "hint",
    "layer_projection",
    "neuron_selectivity",
    "overhaul",
    "overhaul_margin",
    "parameter_distribution",
    "parameter_histogram",
    "paraphrase_reconstruction",
    "restyle",
    "reused_classifier",
    "semantic_calibration",
    "variational_information",
]
