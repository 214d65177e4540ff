"""Applications (section 7): distillation in other fields, each with that field's own metric.

Import a method from its module: ``from kdnb.methods.applications.policy import distil_policy``.
"""
