"""Runs: single trainings, memoised on disk, and where they are executed."""
