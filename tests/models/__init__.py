"""Architectures tried with small random weights: the table of ``docs/models.md``."""
