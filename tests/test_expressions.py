"""Expressions mean what numpy makes of the same text, and can do nothing else."""

import time

import numpy as np
import pytest

from sosie.errors import SettingsError
from sosie.expressions import FUNCTIONS, branches, element, evaluate

RNG = np.random.default_rng(1)
COLUMNS = {
    "a": RNG.normal(size=50),
    "b": RNG.uniform(0.1, 3, 50).astype(np.float32),
    "c": RNG.integers(-5, 5, 50),
    "n": RNG.integers(0, 8, 50),
}


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c",
        "(a + b) * c",
        "-a ** 2",
        "2 ** -b",
        "b ** 2 ** 0.5",
        "a - b - c",
        "a / b / 2 * c",
        "n // 3 % 2",
        "a % b",
        "a < b",
        "-1 < a",
        "(a > 0) & (b < 1) | (c == 2)",
        "~(a > 0)",
        "n & 3 | 4",
        "c != 2",
        "+a - -b",
        "sqrt(b) + exp(a) * log(b) - log10(b)",
        "sin(a) + cos(a) * tan(b) - arctan(a)",
        "arctan2(a, b) + hypot(a, b)",
        "minimum(a, c) - maximum(a, b)",
        "where(a > 0, a, -b)",
        "abs(a) * pi",
        "1e3 * a",
    ],
)
def test_as_numpy(text):
    names = {**{name: getattr(np, name) for name in FUNCTIONS}, "pi": np.pi, **COLUMNS}
    expected = eval(text, {"__builtins__": {}}, names)
    found = evaluate(text, COLUMNS, "key")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a > 0 and b < 1 or c == 2", "((a > 0) & (b < 1)) | (c == 2)"),
        ("not a > 0", "~(a > 0)"),
        ("-1 < a < b <= 2", "(-1 < a) & (a < b) & (b <= 2)"),
        ("\n a\n ", "a + 0"),
    ],
)
def test_words_and_chains(text, meaning):
    expected = evaluate(meaning, COLUMNS, "key")
    np.testing.assert_array_equal(evaluate(text, COLUMNS, "key"), expected)


def test_branches_in_their_order():
    assert branches("pz * sqrt(px**2 + py**2) + pi * px", "key") == ["pz", "px", "py"]
    assert branches("1 + 2", "key") == []


def test_elements_and_dotted_names():
    columns = {"p": RNG.normal(size=(50, 3)), "e.hits.m": RNG.normal(size=(50, 2, 4)), **COLUMNS}
    text = "sqrt(p[0]**2 + p[2]**2) - e.hits.m[1, 3] * a"
    p, m = columns["p"], columns["e.hits.m"]
    expected = np.sqrt(p[:, 0] ** 2 + p[:, 2] ** 2) - m[:, 1, 3] * columns["a"]
    np.testing.assert_array_equal(evaluate(text, columns, "key"), expected)
    assert branches(text, "key") == ["p", "e.hits.m", "a"]
    assert branches("p + p[0] + e.p", "key") == ["p", "e.p"]


@pytest.mark.parametrize("text", ["p[3]", "p[0, 0]", "a[0]", "p[99999999999999999999]"])
def test_an_element_that_is_not_there(text):
    with pytest.raises(SettingsError, match=r"key: '.*' is not there, the branch has shape \("):
        evaluate(text, {"p": np.ones((50, 3)), **COLUMNS}, "key")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (" a ", ("a", ())),
        ("e.fX", ("e.fX", ())),
        ("p[2]", ("p", (2,))),
        ("e.p[1, 0]", ("e.p", (1, 0))),
        ("p[0] + 1", None),
        ("-a", None),
        ("11", None),
        ("pi", None),
    ],
)
def test_what_is_one_branch_or_one_element_of_it(text, place):
    assert element(text) == place


def test_undefined_is_not_finite_and_does_not_warn():
    columns = {"a": np.array([-1.0, 0.0])}
    for text in ("sqrt(a - 1)", "log(a)", "1 / (a - a)", "a % 0", "10 ** (1000 * (a + 2))"):
        assert not np.isfinite(evaluate(text, columns, "key")).any(), text


@pytest.mark.parametrize(
    "text",
    [
        "a.__class__",
        "a.b.__globals__",
        "pi.real",
        "sqrt(a).b",
        "a[0].b",
        "a[0][1]",
        "a[-1]",
        "a[b]",
        "a[1.0]",
        "a[True]",
        "a['b']",
        "a[1:2]",
        "a[()]",
        "a[0, b]",
        "pi[0]",
        "().__class__",
        "__import__('os')",
        "open('x')",
        "eval(a)",
        "a.sqrt(b)",
        "np.sin(a)",
        "lambda: a",
        "'text'",
        "f'{a}'",
        "[a for a in b]",
        "{a}",
        "(a, b)",
        "(x := a)",
        "sqrt(x=a)",
        "sqrt(a, **b)",
        "sqrt(*a)",
        "a if b else c",
        "a @ b",
        "a in b",
        "a is b",
        "a << 9",
        "1j * a",
        "None",
        "...",
        "await_(a)",
    ],
)
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(SettingsError, match=r"^ingest.weight: '.*' is not allowed in an expres"):
        branches(text, "ingest.weight")
    with pytest.raises(SettingsError):
        evaluate(text, COLUMNS, "ingest.weight")


@pytest.mark.parametrize("text", ["", "a +", "a b", "import os", "a = b", "a; b", "(" * 300, "\0"])
def test_what_is_no_expression(text):
    with pytest.raises(SettingsError, match="is not an expression; write it as"):
        branches(text, "key")


def test_a_second_argument_cannot_overwrite_a_column():
    before = COLUMNS["b"].copy()
    with pytest.raises(SettingsError, match=r"'sqrt\(a, b\)' has 2 arguments; sqrt takes 1"):
        evaluate("sqrt(a, b)", COLUMNS, "key")
    with pytest.raises(SettingsError, match="where takes 3"):
        evaluate("where(a)", COLUMNS, "key")
    np.testing.assert_array_equal(COLUMNS["b"], before)


def test_constants_can_neither_hang_nor_leave_the_real_line():
    start = time.perf_counter()
    assert evaluate("9**9**9**9", {}, "key") == np.inf
    assert evaluate("a * 9**9**9", COLUMNS, "key").shape == (50,)
    assert np.isnan(evaluate("(-1)**0.5", {}, "key"))
    with pytest.raises(SettingsError, match="1000 characters at most"):
        evaluate("+".join(["a"] * 1000), COLUMNS, "key")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("text", ["1 / 0", "1 // 0", "~a", "a & 1", "c * 1" + "0" * 400])
def test_what_cannot_be_evaluated(text):
    with pytest.raises(SettingsError, match=r"key: '.*' cannot be evaluated \(.*\); change it"):
        evaluate(text, COLUMNS, "key")
