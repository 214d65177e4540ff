"""Leaving: modules of single chapters, each until its chapter is rewritten on the public API."""
