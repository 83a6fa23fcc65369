"""Reads a server's blocks with DuckDB, which knows nothing of us: blocks.py DATA_DIRECTORY -> sums as JSON.

Fails where the tables of a block do not agree with each other."""

import json
import pathlib
import sys

import duckdb


def sums(table):
    rows = duckdb.sql(f"SELECT service, sum(value)::HUGEINT FROM '{table}' GROUP BY service").fetchall()
    return {service: int(value) for service, value in rows}


def differing(left, right, keys, values):
    """Rows of one query that the other has not, or with another value."""
    query = f"SELECT count(*) FROM ({left}) FULL JOIN ({right}) USING ({keys}) WHERE {values}"
    return duckdb.sql(query).fetchall()[0][0]


def check(folder):
    samples, profiles, hours = (folder / name for name in ("samples.parquet", "profiles.parquet", "hours.parquet"))
    by_profile = f"SELECT series, seq, sum(value) AS a FROM '{samples}' GROUP BY ALL"
    totals = f"SELECT series, seq, total AS b FROM '{profiles}'"
    assert differing(by_profile, totals, "series, seq", "a IS DISTINCT FROM b") == 0, folder
    if hours.exists():
        by_stack = "SELECT service, type, series, stack, sum(value) AS {} FROM '{}' GROUP BY ALL"
        left, right = by_stack.format("a", samples), by_stack.format("b", hours)
        assert differing(left, right, "service, type, series, stack", "a IS DISTINCT FROM b") == 0, folder
    order = f"SELECT service, type, series, stack, seq, row_number() OVER () AS at FROM '{samples}'"
    doubled = f"SELECT count(*) FROM (SELECT series, stack, seq FROM ({order}) GROUP BY ALL HAVING count(*) > 1)"
    assert duckdb.sql(doubled).fetchall()[0][0] == 0, folder


raw, days = {}, {}
for folder in sorted(pathlib.Path(sys.argv[1], "blocks").glob("[0-9]*/*")):
    for name, into in (("samples.parquet", raw), ("days.parquet", days)):
        if (folder / name).exists():
            for service, value in sums(folder / name).items():
                into[service] = into.get(service, 0) + value
    if (folder / "samples.parquet").exists():
        check(folder)
print(json.dumps({"raw": raw, "days": days}))
