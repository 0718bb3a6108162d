"""Environments at servers: one module a protocol, on one HTTP client and one kind of session."""
