"""Multi-teacher distillation (section 5.2): one student of several teachers.

`uhc` and the amalgamations (`ka`, `common_features`, `customised`, `filtered`, `master`) have
teachers that know different classes or tasks.
"""
