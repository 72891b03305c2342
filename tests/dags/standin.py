"""A program in the place of the job package: it records how it was called and ends as the test says.

What it finds in the folder STANDIN_FOLDER decides: `JOB.exit` holds exit codes, one a line, used up from the top;
`JOB.wait` makes it wait until it is killed.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    job, *flags_given = sys.argv[1:]
    folder = Path(os.environ["STANDIN_FOLDER"])
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in flags_given)
    call = {
        "job": job,
        "flags": flags,
        "run_id": os.environ["IRT_DAG_RUN_ID"],
        "try_number": int(os.environ["IRT_TRY_NUMBER"]),
        "pid": os.getpid(),
        "deadline": os.environ["IRT_DEADLINE"],
    }
    with (folder / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(call) + "\n")
    sys.stdout.write(f"{job} was called\n")
    sys.stdout.flush()
    while (folder / f"{job}.wait").exists():
        time.sleep(0.1)
    if job == "generate_weekly_report":
        register_report(flags)
    exits = folder / f"{job}.exit"
    if exits.exists() and (codes := exits.read_text().split()):
        exits.write_text("\n".join(codes[1:]))
        code = int(codes[0])
        if code:
            sys.stdout.write(f"12:00:00 ERROR <{job}> says why\n12:00:00 INFO {job} ended after 0.1 s\n")
        return code
    return 0


def register_report(flags: dict[str, str]) -> None:
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(
            """
            insert into report_artifacts
                (tenant_id, scope, subject_id, week_start, as_of, format, lang, url, sha256, bytes, engine)
            values
                (%s, 'cohort', '', date_trunc('week', %s::date), %s, 'html', %s, %s, repeat('0', 64), 1, 'pandoc')
            on conflict do nothing
            """,
            (
                flags["tenant"],
                flags["as-of"],
                flags["as-of"],
                flags["report-lang"],
                f"{os.environ['REPORT_STORE_URL']}/{flags['as-of']}/report.html",
            ),
        )


if __name__ == "__main__":
    sys.exit(main())
