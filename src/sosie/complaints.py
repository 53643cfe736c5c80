"""Settings checked against a model; each problem is a line with its dotted key and a remedy."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# YAML 1.1 takes 3e-4, without a point, for text.
EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")
SHOULD = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "too_short": "{min_length} or more entries",
    "string_pattern_mismatch": "letters, digits, - and _, the first a letter or digit",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
}


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in sections(inner)]


def _kinds(section: type[BaseModel]) -> tuple[str, ...]:
    """The tag of a section that is one of a union."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _keys(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Keys that a section holds; ``place`` is where pydantic says it is, the tag of a union last."""
    here = [model]
    for word in place:
        fields = [section.model_fields[word] for section in here if word in section.model_fields]
        # A word that is no field is a name in a mapping of sections, or a tag.
        here = [inner for field in fields for inner in sections(field.annotation)] or here
    tagged = [section for section in here if place and place[-1] in _kinds(section)]
    return sorted({key for section in tagged or here for key in section.model_fields})


def _shown(place: tuple[str | int, ...], values: Any) -> str:
    """The dotted key of a place in ``values``, without the tags that pydantic adds."""
    words = []
    for position, word in enumerate(place, 1):
        within = isinstance(values, dict) and word in values
        if within and values.get("kind") == word and position < len(place):
            continue
        if within or (isinstance(values, list) and isinstance(word, int)):
            words.append(str(word))
            values = values[word]
    return ".".join(words)


def near(word: str, valid: Iterable[str]) -> str:
    """The key that was meant, or those there are."""
    near = get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(valid)}"


def _complaint(problem: Any, model: type[BaseModel], values: Any) -> str:
    """One problem that pydantic found, as 'key: what is wrong; remedy'."""
    place, kind, given = problem["loc"], problem["type"], problem["input"]
    key = _shown(place, values)
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {near(str(place[-1]), _keys(model, place[:-1]))}"
    if kind == "missing":
        return f"{key}.{place[-1]}: missing; add this key".removeprefix(".")
    if kind == "union_tag_not_found":
        return f"{key}.kind: missing; add this key"
    if kind == "union_tag_invalid":
        key, given = f"{key}.kind", given["kind"]
    if kind == "value_error":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    context = problem.get("ctx", {})
    what = f"should be {SHOULD[kind].format(**context)}" if kind in SHOULD else problem["msg"]
    value = json.dumps(given, ensure_ascii=False)
    hint = ""
    if kind in ("literal_error", "union_tag_invalid"):
        words = context.get("expected", context.get("expected_tags")).split("'")[1::2]
        found = get_close_matches(str(given), words, n=1, cutoff=0.5)
        hint = f"; did you mean '{found[0]}'?" if found else ""
    if kind == "float_type" and isinstance(given, str) and EXPONENT.fullmatch(given):
        hint = "; write it with a point, as 3.0e-4, and without quotes"
    return f"{key}: {what}, not {value[:60]}{hint}"


def check(model: type[BaseModel], text: str, source: str) -> tuple[Any, list[str]]:
    """The section that JSON text holds, or None, and what is wrong with it, a line each."""
    try:
        return model.model_validate_json(text), []
    except ValidationError as error:
        values = json.loads(text)
        found = [
            f"{source}: {_complaint(problem, model, values)}"
            for problem in error.errors(include_url=False)
        ]
        return None, found
