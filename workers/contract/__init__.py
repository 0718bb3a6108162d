"""Code shared by the web application and the engine: job spec, events, and rules that both apply.

Imports the standard library, pydantic and Jinja; neither Django nor torch.
"""
