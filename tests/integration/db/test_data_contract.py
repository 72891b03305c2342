"""docs/data-contract.md says what the database and the checks say."""

import re
from pathlib import Path
from typing import Any

import psycopg

from irt_analytics import db

DOCUMENT = Path(__file__).parents[3] / "docs" / "data-contract.md"


def documented(section: str) -> list[str]:
    """The rows of the table between the section's marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"<!-- {section} -->\n\|.*\n\| --- .*\n((?:\|.*\n)+)<!-- end of {section} -->", text)
    assert match is not None, section
    return match[1].splitlines()


def test_columns_of_the_view(transaction: psycopg.Connection[Any]) -> None:
    rows = transaction.execute(
        """
        select attname, format_type(atttypid, null), col_description(attrelid, attnum)
        from pg_attribute
        where attrelid = 'attempt'::regclass and attnum > 0
        order by attnum
        """
    )
    assert documented("attempt") == [f"| `{name}` | {type_name} | {meaning} |" for name, type_name, meaning in rows]


def test_tables_written(transaction: psycopg.Connection[Any]) -> None:
    rows = transaction.execute(
        """
        select
            relname,
            array(
                select attname
                from unnest(indkey::int[]) with ordinality as key (number, position)
                join pg_attribute on attrelid = class.oid and attnum = key.number
                order by key.position
            ),
            obj_description(class.oid, 'pg_class')
        from pg_class as class
        join pg_index on indrelid = class.oid and indisprimary
        where
            relnamespace = current_schema()::regnamespace
            and relkind in ('r', 'p')
            and not relispartition
            and relname not like '%yoyo%'
            and relname not in ('question', 'learner_goal')
        order by relname
        """
    )
    assert documented("tables") == [f"| `{name}` | {', '.join(key)} | {comment} |" for name, key, comment in rows]


def test_checks_of_the_log() -> None:
    rows = []
    for path in (db.SQL_ROOT / "checks" / "attempts").glob("*.sql"):
        header = dict(
            re.findall(r"^-- (check|expects|threshold): (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        )
        rows.append(f"| {header['check']} | {header['expects']} | {header['threshold'].replace('%%', '%')} |")
    assert documented("checks") == sorted(rows)
