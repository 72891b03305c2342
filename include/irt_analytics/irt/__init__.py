"""Item response theory on sparse responses: calibration, abilities and linking."""

from irt_analytics.irt.abilities import estimate_abilities
from irt_analytics.irt.calibrate import Calibration, calibrate
from irt_analytics.irt.linking import Link, link
from irt_analytics.irt.online import OnlineAbility, OnlineBank
from irt_analytics.irt.responses import Responses

__all__ = ["Calibration", "Link", "OnlineAbility", "OnlineBank", "Responses", "calibrate", "estimate_abilities", "link"]
