"""An Airflow of the tests' own: its home must be set before anything imports airflow."""

from tests.airflow_home import use_airflow_home

use_airflow_home()
