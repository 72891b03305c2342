"""Without fresh statistics the next job joins row by row: minutes in place of a second."""

from typing import Any

import psycopg

from irt_analytics import db


def test_what_a_transaction_wrote_is_analyzed_before_it_commits(transaction: psycopg.Connection[Any]) -> None:
    transaction.execute(
        "insert into question (tenant_id, item_id, topic_id) select 'a', n::text, 't' from generate_series(1, 500) n"
    )
    db.analyze_written(transaction)
    counted = transaction.execute("select reltuples from pg_class where oid = 'question'::regclass").fetchone()
    assert counted is not None
    assert counted[0] >= 500


def test_only_the_partition_written_to_is_analyzed(transaction: psycopg.Connection[Any]) -> None:
    transaction.execute(
        "select ensure_partitions(month) from unnest(array['2026-01-01', '2026-02-01']::date[]) as month"
    )
    transaction.execute(
        "insert into mirt_ability (tenant_id, user_id, as_of, theta, se, n_responses, method, run_id) "
        "select 'a', n::text, '2026-02-03', 0, 1, 5, 'EAP', 'r' from generate_series(1, 500) n"
    )
    db.analyze_written(transaction)
    rows = dict(
        transaction.execute(
            "select child.relname, child.reltuples from pg_inherits join pg_class as child on child.oid = inhrelid "
            "where inhparent = 'mirt_ability'::regclass and child.relname ~ '2026_?0[12]'"
        ).fetchall()
    )
    assert sorted(rows.values()) == [-1, 500]
