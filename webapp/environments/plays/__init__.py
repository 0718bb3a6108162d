"""Plays: a person or the oracle acts as the model."""
