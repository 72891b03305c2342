"""What the pipeline needs from Airflow: operators, credentials, compute profiles, links; never statistics."""
