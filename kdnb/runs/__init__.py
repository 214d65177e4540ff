"""Runs: one training each, memoised on disk, and where they are sent."""
