"""Expressions of branches, as in ``sqrt(px**2 + py**2)`` or ``(e_kin > 1) & (abs(x[0]) < 0.4)``.

One restricted evaluator for TTree and RNTuple: arithmetic, comparisons and a few functions of
numpy on named columns. A dotted name is the branch of that name and ``x[0]`` an element of an array;
there is no attribute of an object, no import and no call of anything else.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sosie.errors import SettingsError

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arctan": np.arctan,
    "arctan2": np.arctan2,
    "hypot": np.hypot,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "where": np.where,
}
CONSTANTS = {"pi": np.pi}
MAX_LENGTH = 1000


def _power(base: Any, exponent: Any) -> Any:
    # Python's own power of two constants may never end (9**9**9) or leave the real line.
    if isinstance(base, int | float) and isinstance(exponent, int | float):
        return float(np.power(float(base), float(exponent)))
    return base**exponent


def _arguments(name: str) -> int:
    """How many arguments a function takes; one more would be numpy's ``out`` and be overwritten."""
    return getattr(FUNCTIONS[name], "nin", 3)


BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
UNARY: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: np.invert,
    ast.Not: np.logical_not,
}
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _branch(node: ast.expr) -> str | None:
    """The branch that a name or a dotted name stands for, None for anything else."""
    match node:
        case ast.Name(id=name) if name not in CONSTANTS:
            return name
        case ast.Attribute(value=ast.Name() | ast.Attribute() as parent, attr=name):
            # No branch is named like the inner parts of Python, whatever evaluates this.
            above = None if name.startswith("__") else _branch(parent)
            return f"{above}.{name}" if above else None
    return None


def _indices(node: ast.expr) -> tuple[int, ...] | None:
    """The constant indices of a subscript, None where they are not plain numbers from 0."""
    items = node.elts if isinstance(node, ast.Tuple) else [node]
    values = [item.value for item in items if isinstance(item, ast.Constant)]
    numbers = tuple(value for value in values if type(value) is int)
    return numbers if numbers and len(numbers) == len(items) else None


def element(expression: str) -> tuple[str, tuple[int, ...]] | None:
    """Branch and indices of an expression that is just ``branch`` or ``branch[0]``, else None."""
    node = _tree(expression, "")
    if isinstance(node, ast.Subscript):
        name, indices = _branch(node.value), _indices(node.slice)
        return (name, indices) if name and indices else None
    return (name, ()) if (name := _branch(node)) else None


def _element(column: Any, indices: tuple[int, ...], text: str, key: str) -> Any:
    shape = np.shape(column)[1:]
    if len(indices) > len(shape) or any(i >= size for i, size in zip(indices, shape, strict=False)):
        raise SettingsError(
            f"{key}: '{text}' is not there, the branch has shape {shape} for each event; "
            "use indices within it"
        )
    return column[(slice(None), *indices)]


def _tree(expression: str, where: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise SettingsError(f"{where}an expression is {MAX_LENGTH} characters at most; shorten it")
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SettingsError(
            f"{where}'{expression}' is not an expression; write it as in 'sqrt(px**2 + py**2)'"
        ) from None


def branches(expression: str, key: str = "") -> list[str]:
    """The names of columns that an expression uses, in its order; ``key`` is named in errors.

    Raises SettingsError where it cannot be read, or holds what is not allowed.
    """
    names: list[str] = []
    where = f"{key}: " if key else ""

    def visit(node: ast.expr) -> None:
        match node:
            case ast.Name(id=name) if name in CONSTANTS:
                pass
            case ast.Name() | ast.Attribute() if branch := _branch(node):
                names.append(branch)
            case ast.Subscript(value=array, slice=index) if (branch := _branch(array)) and _indices(
                index
            ):
                names.append(branch)
            case ast.Constant(value=bool() | int() | float()):
                pass
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                visit(left)
                visit(right)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
                visit(operand)
            case ast.BoolOp(values=values):
                for value in values:
                    visit(value)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in COMPARE for op in ops
            ):
                for value in (left, *others):
                    visit(value)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                if len(args) != _arguments(name):
                    raise SettingsError(
                        f"{where}'{ast.unparse(node)}' has {len(args)} arguments; "
                        f"{name} takes {_arguments(name)}"
                    )
                for value in args:
                    visit(value)
            case _:
                raise SettingsError(
                    f"{where}'{ast.unparse(node)}' is not allowed in an expression; use branch names, "
                    f"numbers, elements as x[0], + - * / // % **, comparisons, & | ~ "
                    f"and {', '.join(FUNCTIONS)}"
                )

    visit(_tree(expression, where))
    return list(dict.fromkeys(names))


def evaluate(expression: str, columns: Mapping[str, Any], key: str) -> Any:
    """The value of an expression for columns (N, ...) given by name; not finite where it is undefined.

    Raises SettingsError where it cannot be evaluated, or asks for an element that an array has not.
    """
    branches(expression, key)

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.Name() | ast.Attribute():
                return columns[str(_branch(node))]
            case ast.Subscript(value=array, slice=index):
                column = columns[str(_branch(array))]
                return _element(column, _indices(index) or (), ast.unparse(node), key)
            case ast.Constant(value=number):
                return number
            case ast.BinOp(left=left, op=op, right=right):
                return BINARY[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return UNARY[type(op)](value(operand))
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                result = value(values[0])
                for other in values[1:]:
                    result = join(result, value(other))
                return result
            case ast.Compare(left=left, ops=ops, comparators=others):
                terms = [value(item) for item in (left, *others)]
                steps = [
                    COMPARE[type(op)](a, b) for op, a, b in zip(ops, terms, terms[1:], strict=False)
                ]
                return steps[0] if len(steps) == 1 else np.logical_and.reduce(steps)
            case ast.Call(func=ast.Name(id=name), args=args):
                return FUNCTIONS[name](*[value(item) for item in args])
        raise AssertionError(ast.dump(node))

    try:
        with np.errstate(all="ignore"):
            return value(_tree(expression, key))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise SettingsError(
            f"{key}: '{expression}' cannot be evaluated ({' '.join(str(error).split())}); change it"
        ) from None
