"""`python -m irt_analytics JOB --as-of 2026-01-31`."""

from irt_analytics.cli import main

if __name__ == "__main__":
    main()
