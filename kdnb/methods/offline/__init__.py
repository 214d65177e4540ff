"""Offline distillation (section 3.1): a teacher is trained first, then a student learns from it.

`distil` is the scheme itself, with any method of section 2. `eskd` stops early, `rco` follows the
teacher's training, `funmatch` matches functions with long schedules, `bss` distils at the decision
boundary, `fskd` repairs a pruned student from few samples.
"""
