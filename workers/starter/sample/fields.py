import json


def grade(sample: dict[str, str], item: dict[str, dict[str, object]]) -> float:
    """0.1 for a JSON object with exactly the right keys, plus 0.9 times the share of right values."""
    reference = item["reference"]
    try:
        answer = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(answer, dict) or answer.keys() != reference.keys():
        return 0.0
    right = sum(1 for key in reference if answer[key] == reference[key])
    return 0.1 + 0.9 * right / len(reference)
