"""Environments that ship with Groove. Each other file is one user file, run in the sandbox only."""
