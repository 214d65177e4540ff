"""Applications (section 7): what distillation is where the task is not the labelling of images.

Import a method from its module: ``from kdnb.methods.applications.policy import distil_policy``.
"""
