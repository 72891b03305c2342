"""What `make k8s-up` makes of its environment."""

from irt_analytics.deploy.trial import given_report_store


def test_a_store_is_named_by_its_address_and_an_s3_by_its_keys_too() -> None:
    """A key that reached another kind of store, or was left out, would end every report in a refusal."""
    keys = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "https://s3.example"}
    assert given_report_store(keys) is None
    assert given_report_store({**keys, "REPORT_STORE_URL": "gs://bucket/weekly"}) == {
        "conn_type": "generic",
        "extra": {"url": "gs://bucket/weekly"},
    }
    assert given_report_store({**keys, "REPORT_STORE_URL": "s3://bucket/weekly"}) == {
        "conn_type": "aws",
        "login": "who",
        "password": "secret",
        "extra": {"url": "s3://bucket/weekly", "endpoint_url": "https://s3.example"},
    }
