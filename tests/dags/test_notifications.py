"""What a message about a failed run says, and where it goes."""

import logging
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from irt_airflow.exit_codes import raise_for_exit_code
from irt_airflow.notifications import LONGEST_REASON, post, reason_of, webhook

SECRET = "T0/B0/a-secret-that-no-log-may-show"


def connection(**fields: Any) -> Connection:
    return Connection(**{"conn_id": "irt_notifications", "conn_type": "http", "password": SECRET, **fields})


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"host": "hooks.slack.com/services"}, f"https://hooks.slack.com/services/{SECRET}"),
        ({"host": "https://hooks.slack.com/services/"}, f"https://hooks.slack.com/services/{SECRET}"),
        (
            {"host": "chat.example", "schema": "http", "port": 8065, "password": "/hooks/x1"},
            "http://chat.example:8065/hooks/x1",
        ),
        (
            {"host": "chat.googleapis.com", "password": "v1/spaces/A/messages?key=k&token=t%3D"},
            "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t%3D",
        ),
    ],
)
def test_address_of_the_webhook_is_host_and_secret_put_together(fields: dict[str, Any], address: str) -> None:
    assert webhook(connection(**fields)) == address


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"conn_type": "smtp", "host": "mail"}, "has the type 'smtp'; expected http"),
        ({}, "has no host; expected the webhook's address"),
        ({"host": "hooks.slack.com", "password": None}, "has no password; expected the webhook's address"),
    ],
)
def test_incomplete_connection_says_what_is_expected_and_not_its_secret(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=f"'irt_notifications' {said}") as error:
        webhook(connection(**fields))
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "fields", [{"host": "127.0.0.1", "schema": "http", "port": 1}, {"host": "ho st"}, {"host": "x", "schema": "ftp"}]
)
def test_webhook_that_does_not_answer_is_named_without_its_address(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AirflowException, match="connection 'irt_notifications': the webhook does not answer") as error:
        post(connection(**fields), "text")
    assert SECRET not in f"{error.value!r}{error.value.__cause__!r}{caplog.text}"


def test_reason_is_the_operator_s_sentence_with_the_job_s_own() -> None:
    tail = [
        "03:00:01 INFO left out: 2 rapid answers",
        "03:00:02 ERROR 3 items have 20 answers; a calibration needs 5",
        "03:00:02 INFO mirt_calibrate ended after 1.0 s",
    ]
    with pytest.raises(AirflowFailException) as error:
        raise_for_exit_code("mirt_calibrate", 65, tail)
    assert reason_of(str(error.value)) == (
        "mirt_calibrate ended with exit code 65, refused to publish: the data cannot support it; not retried: "
        "3 items have 20 answers; a calibration needs 5"
    )


def test_reason_of_a_defect_shows_no_value_of_its_trace() -> None:
    """What a trace ends with may be a learner's row, and the message leaves the house."""
    tail = ["Traceback (most recent call last):", "ValueError: student ada-lovelace-1815"]
    with pytest.raises(AirflowFailException) as error:
        raise_for_exit_code("fit_glmm", 1, tail)
    assert reason_of(str(error.value)) == "fit_glmm ended with exit code 1, a defect; not retried."


def test_long_reason_is_cut() -> None:
    assert len(reason_of("x" * 5000)) == LONGEST_REASON
