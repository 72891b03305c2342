"""The cohort's report as a document."""

from irt_analytics.report.document import Document
from irt_analytics.report.facts import Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.sections import cohort_sections
from irt_analytics.report.texts import Texts


def cohort_document(facts: Facts, texts: Texts, studio: Studio) -> Document:
    """Compute the cohort's report; figures go into the studio's folder."""
    return Document(
        lang=texts.lang,
        kicker=texts("document.kicker", tenant=visible(facts.tenant)),
        title=texts.period(facts.week_start, facts.as_of),
        subtitle=_subtitle(facts, texts),
        footer=texts("document.footer", as_of=facts.as_of),
        date=facts.as_of,
        sections=cohort_sections(facts, texts, studio),
        contents=texts("document.contents"),
    )


def _subtitle(facts: Facts, texts: Texts) -> str:
    fit = facts.fit("current")
    if fit is None:
        return texts("document.no_bank", as_of=facts.as_of)
    return texts(
        "document.provenance", as_of=facts.as_of, calibrated=fit.as_of, model=visible(fit.model), items=len(facts.items)
    )
