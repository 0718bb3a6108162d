"""Checks that need a GPU: ``make gpu-check``, see ``docs/gpu.md``."""
