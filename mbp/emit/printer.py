"""Prints programs: one formula a line, each value's text from its operation and the dialect."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

import sympy as sp

from mbp.emit.dialect import Dialect
from mbp.emit.scalars import (
    ATOM,
    POWER,
    SUM,
    TERM,
    UNARY,
    Piece,
    number_piece,
    scalar_piece,
    within,
)
from mbp.errors import MbpError
from mbp.expr import scalar
from mbp.expr.dims import ONE, Dim
from mbp.plan.program import Program
from mbp.plan.values.value import Form, Value

_WIDTH = 80

_COUNTS = {
    "eigh": 2, "lu_factor": 3, "svd_frame": 3, "orthogonal_frame": 5, "right_frame": 3,
    "range_frame": 3,
}  # fmt: skip

_TRANSPARENT = ("as_column", "as_diagonal")

_ALLOCATED = (
    "add", "cholesky_inverse", "cholesky_solve", "entrywise", "gap_kernel", "inverse", "kron",
    "lu_solve", "map", "matmul", "multiply", "outer", "over_gaps", "part", "power", "scale",
    "scale_cols", "scale_rows", "stack", "triangular_solve",
)  # fmt: skip
"""Operations whose result shares its storage with nothing."""


@dataclass(frozen=True)
class _Block:
    """Some lines and the names that they define."""

    targets: tuple[str, ...]
    lines: tuple[str, ...]


def _printed_operands(value: Value) -> tuple[Value, ...]:
    """The operands, as often as the text of the value has them."""
    return value.args[:1] if _is_square(value) else value.args


def _is_square(value: Value) -> bool:
    """Whether the value is another one's entrywise square."""
    return value.op == "multiply" and len(value.args) == 2 and value.args[0] is value.args[1]


def _is_turned_reshape(value: Value) -> bool:
    return value.op == "transpose" and value.args[0].op == "reshape"


class Names:
    """Names of values, none twice; a function's own names start from a copy of the module's."""

    def __init__(self, taken: Iterable[str] = (), hints: Mapping[Value, str] | None = None) -> None:
        self._taken = set(taken)
        self._hints = dict(hints or {})
        self._names: dict[Value, str] = {}

    def copy(self) -> Names:
        """A copy that grows on its own."""
        other = Names(self._taken, self._hints)
        other._names = dict(self._names)
        return other

    def name(self, value: Value) -> str:
        """The value's name, chosen on first use."""
        if value not in self._names:
            self._names[value] = self._free(self._hints.get(value) or _wish(value))
        return self._names[value]

    def give(self, value: Value, name: str) -> None:
        """Names a value that has no name yet."""
        self._names.setdefault(value, name)
        self._taken.add(name)

    def reserve(self, name: str) -> None:
        """Keeps a name from being chosen for anything else."""
        self._taken.add(name)

    def _free(self, wish: str) -> str:
        numbered = wish in ("T", "c", "v")
        name, count = (f"{wish}1" if numbered else wish), 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}" if wish[-1].isdigit() else f"{wish}{count}"
        self._taken.add(name)
        return name


def _wish(value: Value) -> str:
    match value.op:
        case "item" if len(value.data) > 1:
            return str(value.data[1])
        case "item" if value.args[0].op == "eigh":
            return "qU"[value.data[0]]
        case "item":
            return ("LU", "pivots")[value.data[0]]
        case "cholesky":
            return "R"
        case "with_diagonal" | "gap_kernel":
            return "K"
        case "entrywise" if value.rows == value.cols != ONE:
            return "L"
        case "nonnegative" if not value.is_scalar:
            return "lam"
        case "add" if value.form is Form.DIAGONAL and any(
            arg.op in ("nonnegative", "column") for arg in value.args
        ):
            return "lam"
    if value.is_scalar:
        return "c"
    return "v" if value.cols == ONE or value.form is Form.DIAGONAL else "T"


class Body:
    """The lines of one function, printed from a program.

    `known` are the values that the function is given; `reference` is the tensor whose dtype,
    device and batch new tensors take, of `order` dimensions without the batch; `dims` is where
    a dimension can be read: (tensor's name, axis).
    """

    def __init__(
        self,
        names: Names,
        known: Iterable[Value],
        reference: str,
        order: int,
        dims: Mapping[sp.Symbol, str],
        dialect: Dialect,
    ) -> None:
        self.names = names
        self._blocks: list[_Block] = []
        self._known = set(known)
        self._seen_outside = set(known)
        self._reference = reference
        self._reference_order = order
        self._dims = dims
        self._dialect = dialect
        self._used_dims: set[sp.Symbol] = set()
        self._uses: Counter[Value] = Counter()
        self._pieces: dict[Value, Piece] = {}
        self._wishes: dict[Value, str] = {}
        self._functions: dict[str, str] = {}
        self._below: dict[Value, frozenset[Value]] = {}

    def print(
        self,
        program: Program,
        wishes: Mapping[str, str],
        keep: Iterable[Value] = (),
        zeros_like: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Prints the results, under the names wished, and the values to keep; returns the texts.

        `zeros_like` names, for a result, a tensor of its shape.
        """
        self._uses = Counter(arg for v in program.values for arg in _printed_operands(v))
        self._wishes = {value: wishes[name] for name, value in program.results.items()}
        kept = set(keep)
        self._seen_outside |= kept | set(self._wishes)
        items: dict[Value, dict[int, Value]] = {}
        for value in program.values:
            if value.op == "item":
                items.setdefault(value.args[0], {})[value.data[0]] = value
        for value in program.values:
            if value in self._known:
                continue
            if value.op == "item":
                self._unpack(value.args[0], items[value.args[0]])
            elif value.op == "zeros":
                continue  # printed where it is returned
            elif (
                value in self._wishes
                or value in kept
                or (self._uses[value] > 1 and not self._is_cheap(value))
            ):
                self._assign(value)
        returned: list[str] = []
        for result, value in program.results.items():
            if value.op == "zeros":
                returned.append(self._zeros(value, (zeros_like or {}).get(result)))
                continue
            text = self._piece(value)[0]
            # An output is a tensor of its own: neither an input nor another output.
            shared = value.op == "input" or text in returned
            returned.append(self._dialect.word("copy").format(a=text) if shared else text)
        return returned

    def _zeros(self, value: Value, like: str | None) -> str:
        if like is not None:
            return self._dialect.word("zeros_like").format(like_array=like)
        sides = [value.rows, value.cols]
        if value.form is Form.RAW:
            sides = [n for n in sides[:1] if not value.is_scalar]
        batch = (
            f"{self._reference}.shape[:{-self._reference_order}]" if self._reference_order else ""
        )
        batch = batch or f"{self._reference}.shape"
        sizes = "".join(f", {self._dim(n)}" for n in sides)
        word = self._dialect.word("zeros of shape")
        return word.format(x=self._reference, shape=f"(*{batch}{sizes or ','})")

    def lines(self, tail: str) -> list[str]:
        """All lines, with `tail` at the end, but for what nothing uses."""
        used = set(re.findall(r"\w+", tail))
        kept: list[_Block] = []
        for block in reversed(self._blocks):
            if used.intersection(block.targets):
                kept.append(block)
                used.update(re.findall(r"\w+", "\n".join(block.lines)))
        body = [line for block in reversed(kept) for line in block.lines]
        return [*self._dim_lines(used), *body, tail]

    def _dim_lines(self, used: set[str]) -> list[str]:
        lines = []
        for n in sorted(self._used_dims, key=lambda n: str(n.name)):
            if n.name not in used:
                continue
            lines.append(f"{n.name} = {self._dims[n]}")
        return lines

    def _is_cheap(self, value: Value) -> bool:
        if value.op in _TRANSPARENT or value.form is Form.CALL:
            return True
        if value.op == "transpose":
            return self._is_named(value.args[0])
        if value.op == "scale" and value.is_scalar:
            return value.args[0].op == "number"
        return value.op in ("number", "size", "ones", "zeros", "input")

    def _is_named(self, value: Value) -> bool:
        if value.op in _TRANSPARENT:
            return self._is_named(value.args[0])
        return value in self._known or value.op == "input" or self._uses[value] > 1

    def _assign(self, value: Value) -> None:
        text = self._piece_of(value)[0]
        name = self._name(value)
        if value.op == "add" and len(name) + len(text) > _WIDTH + 4:
            signed = self._in_order(value.args)
            terms = [f"{'-' if minus else '+'} {within(piece, TERM)}" for minus, piece in signed]
            terms[0] = terms[0].removeprefix("+ ")
            lines = (f"{name} = (", *(f"    {term}" for term in terms), ")")
            self._blocks.append(_Block((name,), lines))
        elif text != name:
            self._blocks.append(_Block((name,), tuple(_broken(f"{name} = {text}"))))
        self._known.add(value)
        self._pieces.clear()

    def _name(self, value: Value) -> str:
        if value in self._wishes:
            self.names.give(value, self._wishes[value])
        return self.names.name(value)

    def _unpack(self, call: Value, items: Mapping[int, Value]) -> None:
        count = _COUNTS.get(call.op) or call.data[2]
        text = self._piece_of(call)[0]
        targets = [self._name(items[k]) if k in items else "_" for k in range(count)]
        self._blocks.append(_Block(tuple(targets), (f"{', '.join(targets)} = {text}",)))
        self._known.update(items.values())
        self._pieces.clear()

    # --- texts ------------------------------------------------------------------------------

    def _piece(self, value: Value) -> Piece:
        if value in self._known and value.op != "input":
            return self.names.name(value), ATOM
        if value not in self._pieces:
            self._pieces[value] = self._piece_of(value)
        return self._pieces[value]

    def _text(self, value: Value) -> str:
        return self._piece(value)[0]

    def _is_line(self, value: Value) -> bool:
        return value in self._known and value.op != "input"

    def _named(self, value: Value) -> str:
        """The value as a text that binds like a name, on a line of its own if it is none."""
        if value.op in _TRANSPARENT:
            return self._named(value.args[0])
        text, strength = self._piece(value)
        if strength == ATOM and re.fullmatch(r"[\w.]+", text):
            return text
        self._assign(value)
        return self.names.name(value)

    def _piece_of(self, value: Value) -> Piece:
        piece = self._print(value)
        while len(piece[0]) > _WIDTH:
            longest = self._longest(value)
            if longest is None:
                break
            self._assign(longest)
            piece = self._print(value)
        return piece

    def _longest(self, value: Value) -> Value | None:
        """The longest operand, or operand's operand, that can go on a line of its own."""
        candidates: dict[Value, int] = {}
        stack = [value]
        while stack:
            for arg in stack.pop().args:
                if self._is_line(arg) or arg.form is Form.CALL:
                    continue
                if arg.op in _TRANSPARENT or _is_turned_reshape(arg):
                    stack.append(arg)
                    continue
                text = self._text(arg)
                plain = arg.op in ("number", "size", "transpose")
                if not plain and not re.fullmatch(r"[\w.]+", text):
                    candidates[arg] = len(text)
        return max(candidates, key=lambda arg: candidates[arg], default=None)

    def _dim(self, n: Dim) -> str:
        for symbol in n.free_symbols:
            if symbol not in self._dims:
                raise MbpError(
                    f"no input shows how large {symbol} is; write a number for it, "
                    "or give the layer an input with that dimension"
                )
            self._used_dims.add(symbol)
        return str(n)

    def _like(self) -> str:
        return self._dialect.like.format(x=self._reference)

    def _print(self, value: Value) -> Piece:
        op, args, data = value.op, value.args, value.data
        if op in _TRANSPARENT:
            return self._piece(args[0])
        match op:
            case "input":
                return str(data[0]), ATOM
            case "number":
                return number_piece(data[0])
            case "size":
                text = self._dim(data[0])
                return text, ATOM if text.isalnum() else SUM
            case "column":
                extra = "..., None, None" if value.is_scalar else "..., None"
                return f"{self._named(args[0])}[{extra}]", ATOM
            case "vector":
                return f"{within(self._piece(args[0]), ATOM)}[..., 0]", ATOM
            case "scalar":
                return self._scalar(args[0])
            case "transpose":
                return f"{within(self._piece(args[0]), ATOM)}.mT", ATOM
            case "multiply" if _is_square(value):
                return self._word("square", args[:1]), ATOM
            case "add" | "multiply" | "scale" | "scale_rows" | "scale_cols" if (
                piece := self._in_place(value)
            ) is not None:
                return piece
            case "scale":
                return self._scale(args[0], args[1])
            case "add" if self._is_with_transpose(value):
                return self._word("with transpose", args[:1]), ATOM
            case "add":
                return self._add(args)
            case "multiply" | "scale_rows" | "outer":
                return self._multiply(args)
            case "matmul":
                left, right = (self._piece(arg) for arg in args)
                return f"{within(left, TERM)} @ {within(right, UNARY)}", TERM
            case "scale_cols":
                turned = within(self._piece(args[1]), ATOM)
                return f"{within(self._piece(args[0]), TERM)} * {turned}.mT", TERM
            case "sum":
                return self._sum(args[0])
            case "zero_as_infinite":
                return self._dialect.word(op).format(a=self._named(args[0])), ATOM
            case "power":
                return self._power(args[0], args[1])
            case "map":
                return self._map(data[0], args[0])
            case "part":
                return self._word(f"part {data[0]}", args), ATOM
            case "stack":
                blocks = ", ".join(self._text(arg) for arg in args)
                axis = -1 if data[0] == 1 else -2
                return self._word("stack", (), args=blocks, axis=axis), ATOM
            case "orthogonal_frame":
                return self._word(op, args, power="1.0" if data[0] else "0.5"), ATOM
            case "reshape":
                return self._reshape(value), ATOM
            case "call":
                return self._call(value)
            case "gap_kernel" | "over_gaps":
                return self._over_gaps(value), ATOM
            case "lu_solve":
                return self._word("lu_solve adjoint" if data[0] else "lu_solve", args), ATOM
            case "triangular_solve":
                return self._triangular_solve(args[0], args[1], *data), ATOM
            case "entrywise":
                return self._entrywise(value)
            case "paths":
                return self._paths(value)
        cols = ONE if value.form is Form.DIAGONAL else value.cols
        return self._word(op, args, sizes=(value.rows, cols)), ATOM

    def _word(
        self, operation: str, operands: Sequence[Value], sizes: Sequence[Dim] = (), **holes: object
    ) -> str:
        """The dialect's word for an operation, its holes filled."""
        word = self._dialect.word(operation)
        asked = {name for _, name, _, _ in Formatter().parse(word) if name}
        filled = {"x": self._reference, "like": self._like(), **holes}
        for hole, n in zip(("rows", "cols"), sizes):
            if hole in asked:
                filled[hole] = self._dim(n)
        for k, arg in enumerate(operands):
            letter = string.ascii_lowercase[k]
            if letter in asked:
                filled[letter] = self._text(arg)
            if letter.upper() in asked:
                filled[letter.upper()] = within(self._piece(arg), ATOM)
        return word.format_map(filled)

    def _reshape(self, value: Value) -> str:
        (A,) = value.args
        to_column = " to column" if value.cols == ONE else ""
        of_column = " of column" if A.cols == ONE else to_column
        return self._word(f"reshape{of_column}", (A,), sizes=value.shape)

    def _over_gaps(self, value: Value) -> str:
        if value.op == "gap_kernel":
            gaps, *rest = value.args
            words = [
                self._dialect.word("ones_like").format(a=self._named(gaps)),
                *map(self._text, (gaps, *rest)),
                "1.0",
            ]
        else:
            words = [self._text(arg) for arg in value.args]
        beside = words[5] if len(words) > 5 else "0.0"
        args = ", ".join([*words[:5], beside])
        return self._word("over_gaps", (), args=args)

    def _triangular_solve(self, A: Value, B: Value, side: str, transposed: bool) -> str:
        triangle = f"{within(self._piece(A), ATOM)}.mT" if transposed else self._text(A)
        upper = (side == "upper") != transposed
        return self._word(
            "triangular_solve", (), a=triangle, b=self._text(B), upper=upper, lower=not upper
        )

    def _scalar(self, v: Value) -> Piece:
        if v.form is Form.NUMBER:
            return self._word("as_array", (v,)), ATOM
        return f"{within(self._piece(v), ATOM)}[..., 0, 0]", ATOM

    def _scale(self, c: Value, X: Value) -> Piece:
        X_piece = self._piece(X)
        if c.op == "number":
            number = c.data[0]
            if number == -1:
                return f"-{within(X_piece, POWER)}", UNARY
            if number < 0 and number.is_Rational and number.p == -1:
                return f"-{within(X_piece, POWER)} / {number.q}", TERM
            if number < 0:
                return f"-{self._scaled(-number, X_piece)[0]}", TERM
            return self._scaled(number, X_piece)
        if c.op == "power" and c.args[1].op == "number" and c.args[1].data[0] == -1:
            return f"{within(X_piece, TERM)} / {within(self._piece(c.args[0]), UNARY)}", TERM
        if c.op == "scale" and c.args[0].op == "number" and c.args[0].data[0] == -1:
            text, _ = self._scale_by(self._piece(c.args[1]), X_piece)
            return f"-{text}", TERM
        return self._scale_by(self._piece(c), X_piece)

    def _scaled(self, number: sp.Expr, X: Piece) -> Piece:
        """A positive number times X."""
        if number == 1:
            return X
        if number.is_Rational and number.p == 1:
            return f"{within(X, TERM)} / {number.q}", TERM
        return self._scale_by(number_piece(number), X)

    def _scale_by(self, c: Piece, X: Piece) -> Piece:
        return f"{within(c, TERM)} * {within(X, UNARY)}", TERM

    def _add(self, terms: tuple[Value, ...]) -> Piece:
        signed = self._in_order(terms)
        text = f"-{within(signed[0][1], POWER)}" if signed[0][0] else within(signed[0][1], TERM)
        for negative, piece in signed[1:]:
            text += f" {'-' if negative else '+'} {within(piece, TERM)}"
        return text, SUM

    def _in_place(self, value: Value) -> Piece | None:
        """A sum or product in the storage of the operand that nobody else sees."""
        if not self._dialect.has_in_place or ONE in value.shape:
            return None
        products_first = sorted(value.args, key=lambda arg: arg.op != "matmul")
        for arg in products_first:
            others = [other for other in value.args if other is not arg]
            if self._is_writable(arg, value, others):
                return self._updated(value, arg, others)
        return None

    def _updated(self, value: Value, target: Value, others: Sequence[Value]) -> Piece:
        piece = self._piece(target)
        for other in others:
            text, word = self._text(other), "multiplied in place"
            if value.op == "scale" and self._is_minus(value):
                word = "negated in place"
            elif value.op == "scale_cols":
                text = f"{within(self._piece(other), ATOM)}.mT"
            elif value.op == "add" and (diagonal := self._on_diagonal(other)) is not None:
                text, word = diagonal, "added to diagonal in place"
            elif value.op == "add":
                negative, (text, _) = self._signed(other)
                word = "subtracted in place" if negative else "added in place"
            word = self._dialect.word(word)
            piece = word.format(a=piece[0], A=within(piece, ATOM), b=text), ATOM
        return piece

    def _on_diagonal(self, term: Value) -> str | None:
        """What a multiple of I or an embedded diagonal adds to the diagonal's entries."""
        if self._is_line(term):
            return None
        if term.op == "embed":
            return self._text(term.args[0])
        if term.op == "scale" and term.args[1].op == "eye":
            return self._text(term.args[0])
        return "1.0" if term.op == "eye" else None

    def _is_writable(self, target: Value, value: Value, others: Sequence[Value]) -> bool:
        """Whether nothing but the value's own text sees the target's storage, nor a batch.

        Whatever is batched in the others, be it by vmap, is batched in the target too: it depends
        on all the inputs that the others depend on.
        """
        if target.shape != value.shape or self._is_seen(target):
            return False
        if target.op == "transpose":
            target = target.args[0]
        if target.op not in _ALLOCATED or target.form is not Form.MATRIX or self._is_seen(target):
            return False
        if target.op == "entrywise" and target.data[0].is_Symbol:
            return False
        if target.op == "scale" and self._is_minus(target) and self._in_place(target) is None:
            return False  # A - B takes no more storage than -B
        below = self._tensors_below(target)
        return all(self._tensors_below(v) <= below for v in others)

    def _is_seen(self, value: Value) -> bool:
        return value in self._seen_outside or self._uses[value] != 1

    def _is_minus(self, value: Value) -> bool:
        c = value.args[0]
        return c.op == "number" and c.data[0] == -1

    def _is_with_transpose(self, value: Value) -> bool:
        """Whether the sum is A + Aᵀ, which is quicker with the transpose copied first."""
        turned = (arg for arg in value.args if arg.op == "transpose")
        return (
            self._dialect.has_in_place
            and value.is_with_transpose
            and not any(map(self._is_line, turned))
        )

    def _tensors_below(self, value: Value) -> frozenset[Value]:
        """The layer's inputs, numbers aside, that the value is computed from."""
        if value not in self._below:
            below = (self._tensors_below(arg) for arg in value.args)
            own = {value} if value.op == "input" and value.form is not Form.NUMBER else set()
            self._below[value] = frozenset(own).union(*below)
        return self._below[value]

    def _in_order(self, terms: tuple[Value, ...]) -> list[tuple[bool, Piece]]:
        # A positive term comes first, the others as they are.
        signed = [self._signed(term) for term in terms]
        first = next((k for k, (negative, _) in enumerate(signed) if not negative), 0)
        return [signed[first], *signed[:first], *signed[first + 1 :]]

    def _signed(self, term: Value) -> tuple[bool, Piece]:
        """Whether the term is subtracted, and what is."""
        if term.op == "scale" and not self._is_line(term):
            c, X = term.args
            if c.op == "number" and c.data[0] < 0:
                return True, self._scaled(-c.data[0], self._piece(X))
            inner = c.op == "scale" and not self._is_line(c) and c.args[0].op == "number"
            if inner and c.args[0].data[0] < 0:
                front = self._scaled(-c.args[0].data[0], self._piece(c.args[1]))
                return True, self._scale_by(front, self._piece(X))
        return False, self._piece(term)

    def _multiply(self, factors: tuple[Value, ...]) -> Piece:
        above, below = [], []
        for factor in factors:
            p = factor.args[1] if factor.op == "power" and not self._is_line(factor) else None
            if p is not None and p.op == "number" and p.data[0] == -1:
                below.append(within(self._piece(factor.args[0]), UNARY))
            else:
                above.append(factor)
        if not above:
            return f"1 / ({' * '.join(below)})", TERM
        words = [within(self._piece(above[0]), TERM)]
        words += [within(self._piece(factor), UNARY) for factor in above[1:]]
        return " / ".join([" * ".join(words), *below]), TERM

    def _sum(self, A: Value) -> Piece:
        axes = "-2" if A.cols == ONE else "(-2, -1)"
        return self._word("sum", (A,), axes=axes), ATOM

    def _power(self, A: Value, p: Value) -> Piece:
        piece = self._piece(A)
        if p.op == "number" and A.form is not Form.NUMBER:
            exponent = sp.sympify(p.data[0])
            if exponent == sp.Rational(1, 2):
                return self._dialect.function("sqrt").format(piece[0]), ATOM
            if exponent == -sp.Rational(1, 2):
                return self._dialect.function("rsqrt").format(piece[0]), ATOM
            if exponent == -1:
                return f"1 / {within(piece, UNARY)}", TERM
        return f"{within(piece, ATOM)} ** {within(self._piece(p), UNARY)}", POWER

    def _call(self, value: Value) -> Piece:
        function, options, _ = value.data
        words = [self._text(arg) for arg in value.args]
        words += [f"{key}={option}" for key, option in options]
        word = self._dialect.call(function, ("hermitian", "True") in options)
        return word.format(function=function, args=", ".join(words)), ATOM

    def _map(self, name: str, A: Value) -> Piece:
        text = self._text(A)
        if A.form is Form.NUMBER:
            text = f"{self._word('as_array', (A,))}[None, None]"
        if name not in self._dialect.functions:  # a formula in functions that the target has
            named = {scalar.X: text if text.isidentifier() else f"({text})"}
            return scalar_piece(scalar.body(name), named, self._dialect)
        return self._dialect.function(name).format(text), ATOM

    def _entrywise(self, value: Value) -> Piece:
        g, symbols = value.data
        names = {s: self._named_or_turned(arg) for s, arg in zip(symbols, value.args, strict=True)}
        piece = scalar_piece(g, names, self._dialect)
        if not value.args:
            return self._word("as_array", (), a=piece[0]), ATOM
        return piece

    def _named_or_turned(self, value: Value) -> str:
        if value.op == "transpose":
            return f"{self._named(value.args[0])}.mT"
        return self._named(value)

    def _paths(self, value: Value) -> Piece:
        kernel, parameters = value.data
        names = {s: self._named(arg) for s, arg in zip(parameters, value.args[3:], strict=True)}
        body = scalar_piece(kernel, names, self._dialect)[0]
        lam, A, B = (self._named(arg) for arg in value.args[:3])
        if body not in self._functions:
            name = f"divided{len(self._functions) + 1 if self._functions else ''}"
            self._functions[body] = name
            X = self._dialect.array
            head = f"def {name}(x1: {X}, x2: {X}, x3: {X}) -> {X}:"
            inside = (f"    {line}" for line in _body(kernel, names, self._dialect))
            self._blocks.append(_Block((name,), ("", head, *inside, "")))
        return f"_paths({self._functions[body]}, {lam}, {A}, {B})", ATOM


def _body(g: sp.Expr, names: Mapping[sp.Symbol, str], dialect: Dialect) -> list[str]:
    """The lines that return g, what occurs in it more than once first."""
    if g.has(sp.Lambda):
        return _broken(f"return {scalar_piece(g, names, dialect)[0]}")
    repeated, (rest,) = sp.cse(g, sp.numbered_symbols("r", start=1))
    lines = [f"{name} = {scalar_piece(part, names, dialect)[0]}" for name, part in repeated]
    return [*lines, f"return {scalar_piece(rest, names, dialect)[0]}"]


def _broken(line: str) -> list[str]:
    """`line`, the arguments of the one call that it is on lines of their own if it is too long."""
    call = re.match(r"(return|\w+ =) \w+\(", line)
    if len(line) <= _WIDTH or call is None:
        return [line]
    depth, start, pieces = 1, call.end(), []
    for k in range(call.end(), len(line)):
        depth += (line[k] == "(") - (line[k] == ")")
        in_lambda = line[start:k].lstrip().startswith("lambda") and ":" not in line[start:k]
        if depth == 0 and k < len(line) - 1:
            return [line]  # the call is only a part of it
        if depth == 0 or (line[k] == "," and depth == 1 and not in_lambda):
            pieces.append(line[start:k].strip())
            start = k + 1
    return [line[: call.end()], *(f"    {piece}," for piece in pieces), ")"]
