"""One module a job. Each has a function `run(context: JobContext) -> None`: load, compute, save."""
