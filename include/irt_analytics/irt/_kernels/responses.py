"""Sorting and counting of answers."""

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Flags, Integers, kernel

#: Answers up to which insertion sorts faster than what numba sorts arrays with.
FEW = 32


@kernel
def gather_by_student(
    students: AnyInteger, items: AnyInteger, right: AnyInteger, indptr: Integers, answers: AnyInteger
) -> None:
    """Counting sort by learner that keeps the input order within a learner."""
    for student in students:
        indptr[student + 1] += 1
    for i in range(1, len(indptr)):
        indptr[i] += indptr[i - 1]
    cursor = indptr[:-1].copy()
    for j in range(len(students)):
        student = students[j]
        answers[cursor[student]] = 2 * items[j] + right[j]
        cursor[student] += 1


@kernel
def sort_rows(first: int, last: int, indptr: Integers, answers: AnyInteger) -> int:
    """Sort the answers of learners first..last; the first position whose item repeats the one before, or -1."""
    repeated = -1
    for i in range(first, last):
        row = answers[indptr[i] : indptr[i + 1]]
        if len(row) > FEW:
            row.sort()
        else:
            for j in range(1, len(row)):
                answer, place = row[j], j
                while place > 0 and row[place - 1] > answer:
                    row[place] = row[place - 1]
                    place -= 1
                row[place] = answer
        for j in range(1, len(row)):
            if repeated < 0 and row[j] >> 1 == row[j - 1] >> 1:
                repeated = indptr[i] + j
    return repeated


@kernel
def count_answers(answers: AnyInteger, n: int) -> Integers:
    """How often each value 0..n-1 occurs."""
    counts = np.zeros(n, dtype=np.int64)
    for answer in answers:
        counts[answer] += 1
    return counts


@kernel
def copy_rows(
    source_indptr: Integers,
    source: AnyInteger,
    columns: AnyInteger,
    rows: Integers,
    indptr: Integers,
    answers: AnyInteger,
) -> None:
    """Copy the rows of a shard to their places, its items renumbered by `columns`, which keeps their order."""
    for i in range(len(rows)):
        to = indptr[rows[i]]
        for j in range(source_indptr[i], source_indptr[i + 1]):
            answers[to] = 2 * columns[source[j] >> 1] + (source[j] & 1)
            to += 1


@kernel
def find_informed(indptr: Integers, answers: AnyInteger, active: Flags) -> Flags:
    """Which learners have an answer to an active item."""
    informed = np.zeros(len(indptr) - 1, dtype=np.bool_)
    for i in range(len(indptr) - 1):
        for j in range(indptr[i], indptr[i + 1]):
            if active[answers[j] >> 1]:
                informed[i] = True
                break
    return informed
