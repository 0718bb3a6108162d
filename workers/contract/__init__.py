"""What the web application and the engine share: job spec, event stream, and rules that both apply.

Imports the standard library, pydantic and Jinja; neither Django nor torch.
"""
