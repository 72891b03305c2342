"""Runs the whole daily Dag on this machine: embedded PostgreSQL, embedded Airflow, a log, and what came of it."""

from irt_analytics.demo.commands import command

__all__ = ["command"]
