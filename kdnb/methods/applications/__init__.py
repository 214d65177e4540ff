"""Applications (section 7): distillation in other fields, each with the field's own measure.

Import a field's module: `acoustic`, `frames` and `ctc` are speech (7.3).
"""
