"""Applications (section 7): distillation in other fields, each with the field's own measure.

Import a method from its module: ``from kdnb.methods.applications.policy import distil_policy``.
"""
