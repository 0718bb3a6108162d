"""Environments that a server plays, and their secrets."""
