"""Multi-teacher distillation (section 5.2): one student of several teachers.

`uhc` and the amalgamations (`amalgamation`, `cfl`, `custom`, `filtered`, `master`) have teachers
that know different classes or tasks; `experts` asks them, `tasks` are networks of several tasks.
"""
