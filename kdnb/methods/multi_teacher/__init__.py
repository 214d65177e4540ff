"""Several teachers, one student (section 5.2 of the survey).

Teachers of the same classes: `combining` makes one target from their answers, `switching` draws one
of them, `aekd` balances their gradients, and `noisy_teachers` simulates many by one. `ekd` and
`ensemblenet` give the student a branch for each teacher, `feed` a translator for each. In
`collaborative_teaching` one teacher learns together with the student, and in `learn_from_several`
teachers vote (You et al. 2017, in `kdnb.methods.offline.you2017`). `reid` compares similarities,
`unfolding` and `merging` work on weights, `concentration` has teachers of few classes each, and
`sequences` distils sequences from an ensemble.

Teachers of different classes or tasks: `uhc` unifies classifiers, `amalgamation`, `cfl`, `custom`,
`filtered` and `master` amalgamate networks; `experts` evaluates them, and `tasks` has networks for
several tasks.
"""

from kdnb.losses import certainty_weights, confidence_weights, noisy_logits, oracle_weights
from kdnb.methods.multi_teacher.aekd import aekd
from kdnb.methods.multi_teacher.collaborative_teaching import collaborative_teaching
from kdnb.methods.multi_teacher.combining import Ensemble, learn_from_ensemble
from kdnb.methods.multi_teacher.concentration import StructuredHead, concentrate
from kdnb.methods.multi_teacher.ekd import TeachersMaps, ekd
from kdnb.methods.multi_teacher.ensemblenet import AveragedBranches, disagreement, ensemblenet
from kdnb.methods.multi_teacher.feed import FeatureTranslators, feed, feed_in_turn
from kdnb.methods.multi_teacher.merging import Merged, calibrate, merge
from kdnb.methods.multi_teacher.noisy_teachers import learn_from_noisy_teacher
from kdnb.methods.multi_teacher.reid import Aggregator, learn_similarities, verification_risk
from kdnb.methods.multi_teacher.sequences import (
    Hypothesis,
    Selective,
    beam_search,
    choose,
    distilled_corpus,
    edit_rate,
    sentence_bleu,
)
from kdnb.methods.multi_teacher.switching import (
    OncePerTeacher,
    learn_by_augmentation,
    learn_by_switching,
    target_spread,
)
from kdnb.methods.multi_teacher.unfolding import (
    factorised,
    shrink_by_data,
    shrink_by_weights,
    unfold,
)
from kdnb.methods.offline.you2017 import learn_from_several

__all__ = [
    "Aggregator",
    "AveragedBranches",
    "Ensemble",
    "FeatureTranslators",
    "Hypothesis",
    "Merged",
    "OncePerTeacher",
    "Selective",
    "StructuredHead",
    "TeachersMaps",
    "aekd",
    "beam_search",
    "calibrate",
    "certainty_weights",
    "choose",
    "collaborative_teaching",
    "concentrate",
    "confidence_weights",
    "disagreement",
    "distilled_corpus",
    "edit_rate",
    "ekd",
    "ensemblenet",
    "factorised",
    "feed",
    "feed_in_turn",
    "learn_by_augmentation",
    "learn_by_switching",
    "learn_from_ensemble",
    "learn_from_noisy_teacher",
    "learn_from_several",
    "learn_similarities",
    "merge",
    "noisy_logits",
    "oracle_weights",
    "sentence_bleu",
    "shrink_by_data",
    "shrink_by_weights",
    "target_spread",
    "unfold",
    "verification_risk",
]
