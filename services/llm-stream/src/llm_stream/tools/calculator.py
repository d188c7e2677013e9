"""The built-in calculator: arithmetic in decimals, so that 0.1 + 0.2 is 0.3, and nothing that takes long."""

import ast
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException, localcontext

from llm_stream.ports import ToolError

MAX_CHARACTERS = 500
MAX_DEPTH = 50
# As many digits as anybody reads out; every operation on them takes microseconds.
DIGITS = 28

BINARY: Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY: Mapping[type[ast.unaryop], Callable[[Decimal], Decimal]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
FUNCTIONS: Mapping[str, Callable[..., Decimal]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "round": lambda number, places=Decimal(0): number.quantize(Decimal(1).scaleb(-int(places))),
    "sqrt": Decimal.sqrt,
    "ln": Decimal.ln,
    "log10": Decimal.log10,
    "exp": Decimal.exp,
}


def calculate(expression: str) -> str:
    """The value of an expression of numbers, `+ - * / // % **`, brackets and `FUNCTIONS`. Raises ToolError."""
    if len(expression) > MAX_CHARACTERS:
        raise ToolError(f"the expression has more than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        with localcontext() as context:
            context.prec = DIGITS
            return _written(_value(tree.body, 1))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ToolError("that is no expression of numbers") from None
    except (DecimalException, TypeError, OverflowError):
        raise ToolError("that has no value that can be calculated") from None


def _value(node: ast.expr, depth: int) -> Decimal:
    if depth > MAX_DEPTH:
        raise ToolError("the expression is nested too deeply")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Decimal(str(node.value))
    if isinstance(node, ast.BinOp) and (binary := BINARY.get(type(node.op))) is not None:
        return binary(_value(node.left, depth + 1), _value(node.right, depth + 1))
    if isinstance(node, ast.UnaryOp) and (unary := UNARY.get(type(node.op))) is not None:
        return unary(_value(node.operand, depth + 1))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = FUNCTIONS.get(node.func.id)
        if function is not None:
            return function(*(_value(each, depth + 1) for each in node.args))
    raise ToolError("only numbers, + - * / // % **, brackets and " + ", ".join(FUNCTIONS) + " can be calculated")


def _written(value: Decimal) -> str:
    if not value.is_finite():
        raise ToolError("that has no value that can be calculated")
    whole = value == value.to_integral_value()
    plain = value.quantize(Decimal(1)) if whole and abs(value) < Decimal(10) ** (DIGITS - 1) else value.normalize()
    return str(plain)
