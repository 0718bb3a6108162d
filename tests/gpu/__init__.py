"""What only a GPU can tell: ``make gpu-check``, see ``docs/gpu.md``."""
