"""Settings of a job, from the environment only; secrets never come by the command line and never reach a log."""

from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from irt_analytics.errors import ConfigurationError


class Settings(BaseSettings):
    """What a job needs to know of its surroundings. Each field is the environment variable of the same name."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    database_url: SecretStr = Field(description="PostgreSQL connection URI of the product's database")
    attempt_source: str = Field("flat", description="flat, exam_jsonb, xapi, or the path of an own SQL file")
    report_store_url: str = Field("", description="fsspec URL of the folder that receives report files")
    report_engine: Literal["auto", "quarto", "pandoc"] = Field("auto", description="what renders the report")
    r_irt_url: str = Field("", description="address of r-irt-plumber")
    r_irt_token: SecretStr | None = Field(None, description="bearer token of r-irt-plumber")
    r_irt_unavailable: str = Field("", description="why there is no r-irt-plumber here")
    r_glmm_url: str = Field("", description="address of r-glmm-plumber")
    r_glmm_token: SecretStr | None = Field(None, description="bearer token of r-glmm-plumber")
    r_glmm_unavailable: str = Field("", description="why there is no r-glmm-plumber here")
    r_forecast_url: str = Field("", description="address of r-forecast-plumber")
    r_forecast_token: SecretStr | None = Field(None, description="bearer token of r-forecast-plumber")
    r_forecast_unavailable: str = Field("", description="why there is no r-forecast-plumber here")
    r_brms_url: str = Field("", description="address of r-brms-plumber")
    r_brms_token: SecretStr | None = Field(None, description="bearer token of r-brms-plumber")
    r_brms_unavailable: str = Field("", description="why there is no r-brms-plumber here")
    dag_run_id: str | None = Field(None, validation_alias="IRT_DAG_RUN_ID", description="Airflow's run id")
    try_number: int | None = Field(None, validation_alias="IRT_TRY_NUMBER", description="Airflow's try number")
    deadline: AwareDatetime | None = Field(
        None, validation_alias="IRT_DEADLINE", description="when the task's time is over, such as 2026-01-31T04:00:00Z"
    )


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a variable is missing or has a value that is not allowed; names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}" for problem in error.errors()
        ]
        raise ConfigurationError("environment: " + "; ".join(lines)) from None
