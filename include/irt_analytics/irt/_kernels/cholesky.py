"""Inverse of a symmetric positive definite matrix whose bits do not depend on the number of threads.

A BLAS splits its sums by the number of its threads, so the last bits of an inverse, and of every standard error, would
change from one machine to the next. Here each element is summed in one order; threads share out rows or columns.
"""

from math import sqrt

from irt_analytics.irt._kernels.jit import Floats, kernel

# Columns worked on together; their part of a row stays in the first-level cache.
PANEL = 64


@kernel
def subtract_products(row: Floats, factors: Floats, rows: Floats) -> None:
    """Take factors @ rows from the row."""
    n = len(factors)
    whole = n - n % 4
    for k in range(0, whole, 4):
        f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for c in range(len(row)):
            row[c] -= (f0 * r0[c] + f1 * r1[c]) + (f2 * r2[c] + f3 * r3[c])
    for k in range(whole, n):
        f0, r0 = factors[k], rows[k]
        for c in range(len(row)):
            row[c] -= f0 * r0[c]


@kernel
def factor_panel(matrix: Floats, start: int, stop: int) -> bool:
    """Cholesky factor of the square from `start` to `stop`, in place; False where it is not positive definite."""
    for i in range(start, stop):
        for j in range(start, i + 1):
            total = matrix[i, j]
            for k in range(start, j):
                total -= matrix[i, k] * matrix[j, k]
            if i > j:
                matrix[i, j] = total / matrix[j, j]
            elif total > 0.0:
                matrix[i, i] = sqrt(total)
            else:
                return False
    return True


@kernel
def reduce_rows(first: int, last: int, matrix: Floats, before: Floats, start: int, stop: int) -> None:
    """Take what earlier panels explain from columns start..stop of rows first..last.

    `before` is the transpose of rows start..stop of the factor, shape (start, stop - start).
    """
    for i in range(first, last):
        subtract_products(matrix[i, start:stop], matrix[i, :start], before)


@kernel
def solve_rows(first: int, last: int, matrix: Floats, upper: Floats, start: int, stop: int) -> None:
    """Divide columns start..stop of rows first..last by the panel's factor, whose transpose is `upper`."""
    for i in range(first, last):
        row = matrix[i, start:stop]
        for m in range(stop - start):
            row[m] /= upper[m, m]
            for c in range(m + 1, stop - start):
                row[c] -= row[m] * upper[m, c]


@kernel
def invert_factor(first: int, last: int, factor: Floats, inverse: Floats) -> None:
    """Columns of the inverse of the lower triangular factor, for the panels first..last."""
    n = len(factor)
    for panel in range(first, last):
        start, stop = panel * PANEL, min((panel + 1) * PANEL, n)
        for i in range(start, n):
            row = inverse[i, start:stop]
            row[:] = 0.0
            if i < stop:
                row[i - start] = 1.0
            subtract_products(row, factor[i, start:i], inverse[start:i, start:stop])
            scale = 1.0 / factor[i, i]
            for c in range(len(row)):
                row[c] *= scale


@kernel
def square_factor(first: int, last: int, factor: Floats, transposed: Floats, product: Floats) -> None:
    """Columns of factor' @ factor, on and below the diagonal, for the panels first..last of a triangular factor."""
    n = len(factor)
    for panel in range(first, last):
        start, stop = panel * PANEL, min((panel + 1) * PANEL, n)
        for i in range(start, n):
            row = product[i, start:stop]
            row[:] = 0.0
            subtract_products(row, transposed[i, i:], factor[i:, start:stop])
            for c in range(len(row)):
                row[c] = -row[c]
