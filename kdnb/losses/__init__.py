"""What is transferred (section 2 of the survey). Pure functions of tensors; torch alone."""

from kdnb.losses.response import label_smoothing, logit_regression, soft_targets

__all__ = ["label_smoothing", "logit_regression", "soft_targets"]
