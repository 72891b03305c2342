"""Addresses of reports that a browser can open."""

import pytest

from irt_airflow.links import browser_address


@pytest.mark.parametrize(
    ("url", "endpoint", "address"),
    [
        (
            "s3://reports/weekly/2026-01-31/report.html",
            None,
            "https://console.aws.amazon.com/s3/object/reports?prefix=weekly%2F2026-01-31%2Freport.html",
        ),
        ("s3://reports/week ly/a.html", "https://minio:9000/", "https://minio:9000/reports/week%20ly/a.html"),
        ("gs://reports/weekly/한.html", None, "https://storage.cloud.google.com/reports/weekly/%ED%95%9C.html"),
        ("file:///srv/reports/report.html", None, "file:///srv/reports/report.html"),
        ("https://reports.internal/report.html", None, "https://reports.internal/report.html"),
    ],
)
def test_report_s_url_becomes_one_that_opens(url: str, endpoint: str | None, address: str) -> None:
    assert browser_address(url, endpoint) == address
