"""Environments run here: one backend a kind, sessions that a model or a person plays."""
