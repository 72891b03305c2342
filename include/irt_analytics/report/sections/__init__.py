"""The report's sections, in the order a reader meets them."""

from irt_analytics.report.document import Section
from irt_analytics.report.facts import Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.sections import (
    bank,
    changes,
    forecast,
    growth,
    kpis,
    learners,
    limits,
    provenance,
    risk,
    scale,
    segments,
    summary,
    topics,
    trend,
)
from irt_analytics.report.texts import Texts

_SECTIONS = (
    summary,
    changes,
    learners,
    risk,
    trend,
    growth,
    forecast,
    kpis,
    segments,
    topics,
    bank,
    scale,
    limits,
    provenance,
)


def cohort_sections(facts: Facts, texts: Texts, studio: Studio) -> list[Section]:
    """Compute the sections of the cohort's report; figures go into the studio's folder."""
    return [module.section(facts, texts, studio) for module in _SECTIONS]
