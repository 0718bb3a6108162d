"""Graders to start from, one a kind."""

from __future__ import annotations

from typing import Any

PYTHON_SOURCE = '''import json


def grade(sample, item):
    """Share of right fields; a reply that is not the wanted JSON earns nothing.

    sample["output_text"] is the model's reply, item holds the row's other fields.
    """
    wanted = item["reference"]
    try:
        given = json.loads(sample["output_text"])
    except ValueError:
        return 0.0
    if not isinstance(given, dict):
        return 0.0
    right = sum(given.get(key) == value for key, value in wanted.items())
    return right / len(wanted)
'''

EXAMPLES: dict[str, dict[str, Any]] = {
    "python": {"type": "python", "name": "fields", "source": PYTHON_SOURCE},
    "string_check": {
        "type": "string_check",
        "name": "exact",
        "input": "{{sample.output_text}}",
        "reference": "{{item.reference}}",
        "operation": "eq",
    },
    "text_similarity": {
        "type": "text_similarity",
        "name": "similar",
        "input": "{{sample.output_text}}",
        "reference": "{{item.reference}}",
        "evaluation_metric": "fuzzy_match",
    },
    "multi": {
        "type": "multi",
        "name": "exact_or_close",
        "graders": {
            "exact": {
                "type": "string_check",
                "name": "exact",
                "input": "{{sample.output_text}}",
                "reference": "{{item.reference}}",
                "operation": "eq",
            },
            "close": {
                "type": "text_similarity",
                "name": "close",
                "input": "{{sample.output_text}}",
                "reference": "{{item.reference}}",
                "evaluation_metric": "rouge_l",
            },
        },
        "calculate_output": "0.7 * exact + 0.3 * close",
    },
}
EXPLANATIONS = {
    "python": "Your own function over the reply and the row. Runs in a sandbox without network or files.",
    "string_check": "1 or 0: the reply equals, differs from or contains the reference.",
    "text_similarity": "Between 0 and 1: how alike reply and reference are, by BLEU, ROUGE and others.",
    "multi": "A formula over several graders.",
}
