"""Labels of grading errors, by their class."""

from __future__ import annotations

ERROR_LABELS = {
    "formula_parse_error": "The formula returned no number",
    "sample_parse_error": "The completion could not be read",
    "truncated_observation_error": "The completion is too long",
    "unresponsive_reward_error": "This completion took too long to grade",
    "invalid_variable_error": "A field is missing",
    "other_error": "It could not be graded",
    "python_grader_server_error": "The sandbox failed",
    "python_grader_runtime_error": "The grader's code failed",
    "model_grader_server_error": "The judge did not answer",
    "model_grader_refusal_error": "The judge refused",
    "model_grader_parse_error": "The judge's reply could not be read",
}
