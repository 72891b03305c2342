"""Sums of rows of a table, in which the E-step spends its time: LLVM's own vectors, which stay in registers.

numba's loops over nodes load and store the running sum at every few rows and check there whether arrays overlap; that
takes up to twice as long.
"""

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils as untyped_cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from irt_analytics.irt._kernels.jit import AnyInteger, Floats, kernel

cgutils: Any = untyped_cgutils

#: Columns in a vector; tables have a multiple of it.
LANES = 8
# Columns whose sums a pass over the rows keeps in registers: of 128 bits where nothing is known of the processor.
_WIDE = LANES if config.CPU_NAME == "generic" else 4 * LANES  # type: ignore[attr-defined]  # set at import
_TOGETHER = 4


def _typed(typing_context: Any, table: Any, rows: Any, start: Any, total: Any) -> Any:  # noqa: ARG001 - numba's
    arrays = ((table, types.float64, 2), (rows, rows.dtype, 1), (total, types.float64, 1))
    contiguous = all(
        array.dtype == dtype and (array.ndim, array.layout) == (axes, "C") for array, dtype, axes in arrays
    )
    integers = isinstance(rows.dtype, types.Integer) and isinstance(start, types.Integer)
    if not (contiguous and integers and total.mutable):
        raise TypingError(
            f"add_rows({table}, {rows}, {start}, {total}): expected contiguous arrays of float64, integers, an integer "
            "and an array of float64 that can be written"
        )
    return types.void(table, rows, types.intp, total), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    table, rows, total = (context.make_array(signature.args[at])(context, builder, arguments[at]) for at in (0, 1, 3))
    _, stride = cgutils.unpack_tuple(builder, table.shape, 2)
    (n,) = cgutils.unpack_tuple(builder, rows.shape, 1)
    (width,) = cgutils.unpack_tuple(builder, total.shape, 1)
    integer = context.get_value_type(types.intp)

    def constant(value: int) -> Any:
        return ir.Constant(integer, value)

    def vector_at(data: Any, offset: Any, size: int) -> Any:
        return builder.bitcast(builder.gep(data, [offset]), ir.VectorType(ir.DoubleType(), size).as_pointer())

    def row(j: Any, column: Any, size: int) -> Any:
        number = context.cast(builder, builder.load(builder.gep(rows.data, [j])), signature.args[1].dtype, types.intp)
        offset = builder.add(builder.mul(number, stride), builder.add(arguments[2], column))
        return builder.load(vector_at(table.data, offset, size), align=8)

    def add_columns(first: Any, last: Any, size: int) -> None:
        with cgutils.for_range_slice(builder, first, last, constant(size), inc=True) as (column, _):
            into = vector_at(total.data, column, size)
            running = cgutils.alloca_once_value(builder, builder.load(into, align=8))
            with cgutils.for_range_slice(builder, constant(0), whole, constant(_TOGETHER), inc=True) as (j, _):
                t0, t1, t2, t3 = (row(builder.add(j, constant(i)), column, size) for i in range(_TOGETHER))
                four = builder.fadd(builder.fadd(t0, t1), builder.fadd(t2, t3))
                builder.store(builder.fadd(builder.load(running), four), running)
            with cgutils.for_range_slice(builder, whole, n, constant(1), inc=True) as (j, _):
                builder.store(builder.fadd(builder.load(running), row(j, column, size)), running)
            builder.store(builder.load(running), into, align=8)

    whole = builder.and_(n, constant(-_TOGETHER))
    wide = builder.and_(width, constant(-_WIDE))
    add_columns(constant(0), wide, _WIDE)
    add_columns(wide, width, LANES)
    return context.get_dummy_value()


_add_rows: Any = intrinsic(_typed)


@kernel
def add_rows(table: Floats, rows: AnyInteger, start: int, total: Floats) -> None:
    """Add the given rows of `table`, from column `start` on, to `total`, which has a multiple of `LANES` columns.

    Neither that nor whether rows and columns are there is checked.
    Rows are added four at a time, `(t0 + t1) + (t2 + t3)`, in their order, and so to the same bits on every processor.
    """
    _add_rows(table, rows, start, total)


def _one_row(typing_context: Any, row: Any) -> Any:  # noqa: ARG001 - numba's
    if (row.dtype, row.ndim, row.layout) != (types.float64, 1, "C"):
        raise TypingError(f"largest({row}): expected a contiguous array of float64")
    return types.float64(row), _generate_largest


def _generate_largest(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    row = context.make_array(signature.args[0])(context, builder, arguments[0])
    (width,) = cgutils.unpack_tuple(builder, row.shape, 1)
    integer = context.get_value_type(types.intp)
    vector = ir.VectorType(ir.DoubleType(), LANES)

    def vector_at(offset: Any) -> Any:
        return builder.load(builder.bitcast(builder.gep(row.data, [offset]), vector.as_pointer()), align=8)

    def larger(left: Any, right: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", left, right), left, right)

    running = cgutils.alloca_once_value(builder, vector_at(ir.Constant(integer, 0)))
    step = ir.Constant(integer, LANES)
    with cgutils.for_range_slice(builder, step, width, step, inc=True) as (column, _):
        builder.store(larger(vector_at(column), builder.load(running)), running)
    lanes = builder.load(running)
    values = [builder.extract_element(lanes, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)]
    while len(values) > 1:
        values = [larger(left, right) for left, right in zip(values[::2], values[1::2], strict=True)]
    return values[0]


_largest: Any = intrinsic(_one_row)


@kernel
def largest(row: Floats) -> float:
    """The largest number of a row that has a multiple of `LANES`, at least one; that is not checked."""
    value: float = _largest(row)
    return value
