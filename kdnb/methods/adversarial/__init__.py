"""Adversarial distillation (section 5.1): a discriminator or a generator takes part.

The survey's three categories (its Figure 10):

- (a) a generator makes data: `distil_with_generated` adds them to real images;
  `kdnb.methods.data_free` uses no real images;
- (b) a discriminator tells teacher from student: `conditional_adversarial` by logits,
  `adversarial_features` and `adversarial_compression` by features, `meal` with several teachers,
  `adversarial_domains` across domains;
- (c) teacher and student are generators trained together: `kdgan`; with feature maps and with
  divergent examples, `kdnb.methods.online.adversarial_maps` and `adversarial_codistillation`.

`distil_gan` distils a GAN itself, evaluated by `classifier_frechet`. Adversarial samples near the
teacher's decision boundary are in `kdnb.methods.offline.bss`.
"""

from kdnb.losses import confused_judging_loss, fooling_loss, judging_loss, logit_distance
from kdnb.methods.adversarial.conditional import ConditionalCritic, conditional_adversarial
from kdnb.methods.adversarial.critics import Critic
from kdnb.methods.adversarial.domains import adversarial_domains, shifted
from kdnb.methods.adversarial.features import adversarial_compression, adversarial_features
from kdnb.methods.adversarial.frechet import (
    classifier_frechet,
    embedded,
    feature_frechet,
    frechet_distance,
)
from kdnb.methods.adversarial.gan import (
    ImageCritic,
    ImageGenerator,
    distil_gan,
    draw_images,
    train_gan,
)
from kdnb.methods.adversarial.generated import distil_with_generated, mixed
from kdnb.methods.adversarial.kdgan import (
    best_scores,
    concrete,
    game_value,
    gumbel_noise,
    kdgan,
    pair_scores,
)
from kdnb.methods.adversarial.meal import aligned, meal

__all__ = [
    "ConditionalCritic",
    "Critic",
    "ImageCritic",
    "ImageGenerator",
    "adversarial_compression",
    "adversarial_domains",
    "adversarial_features",
    "aligned",
    "best_scores",
    "classifier_frechet",
    "concrete",
    "conditional_adversarial",
    "confused_judging_loss",
    "distil_gan",
    "distil_with_generated",
    "draw_images",
    "embedded",
    "feature_frechet",
    "fooling_loss",
    "frechet_distance",
    "game_value",
    "gumbel_noise",
    "judging_loss",
    "kdgan",
    "logit_distance",
    "meal",
    "mixed",
    "pair_scores",
    "shifted",
    "train_gan",
]
