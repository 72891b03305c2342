"""The services' images are one shape."""

import re
import subprocess
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "include" / "r_services"
PACKAGES = {"irt": "irtmirt", "glmm": "irtglmm", "forecast": "irtforecast", "brms": "irtbrms"}


def _shape(service: str) -> str:
    """A service's Dockerfile with X for its name."""
    text = (SERVICES / service / "Dockerfile").read_text(encoding="utf-8")
    names = (f"r-{service}-plumber", f"SERVICE={service}", f"r_services/{service}/", f"{PACKAGES[service]}::")
    for name, neutral in zip(names, ("r-X-plumber", "SERVICE=X", "r_services/X/", "irtX::"), strict=True):
        assert name in text
        text = text.replace(name, neutral)
    return text


@pytest.mark.parametrize("service", ["irt", "forecast", "brms"])
def test_the_services_dockerfiles_differ_by_name_only(service: str) -> None:
    """What one image is hardened by, each must be: Docker has no way to share it."""
    assert _shape(service) == _shape("glmm")


@pytest.mark.parametrize("service", PACKAGES)
def test_an_image_installs_the_packages_that_its_service_imports(service: str) -> None:
    """A package forgotten there is an image that does not start."""
    printed = subprocess.run(
        [str(SERVICES / "debian-packages"), "--run", "common", service], capture_output=True, text=True, check=True
    ).stdout.split()
    imports: set[str] = set()
    for folder in ("common", service):
        description = (SERVICES / folder / "DESCRIPTION").read_text(encoding="utf-8")
        listed = re.search(r"^Imports:((?:.|\n(?=\s))*)", description, re.MULTILINE)
        assert listed
        imports |= {name.split("(")[0].strip() for name in listed[1].split(",")}
    with_r = {"stats", "utils", "tools", "parallel", "methods"}
    elsewhere = {"irtcommon", "mirt"}
    assert {f"r-cran-{name.lower()}" for name in imports - with_r - elsewhere} <= set(printed)
