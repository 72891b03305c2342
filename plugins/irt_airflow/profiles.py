"""Named compute profiles: what a pod asks for and may not exceed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComputeProfile:
    """Requests and limits of one pod, in Kubernetes quantities.

    `threads` is what numerical libraries start, for inside a container they see the node's cores, not the limit.
    """

    cpu_request: str
    threads: int
    memory_request: str
    memory_limit: str
    scratch_limit: str

    @property
    def requests(self) -> dict[str, str]:
        """What the scheduler sets aside."""
        return {"cpu": self.cpu_request, "memory": self.memory_request}

    @property
    def limits(self) -> dict[str, str]:
        """What the kernel enforces."""
        return {"cpu": str(self.threads), "memory": self.memory_limit}


PROFILES = {
    # set-based SQL: the database does the work
    "small": ComputeProfile("100m", 1, "256Mi", "1Gi", "256Mi"),
    # one shard of features, figures and PDF rendering
    "medium": ComputeProfile("500m", 2, "1Gi", "4Gi", "2Gi"),
    # the E-step: 50 million answers need 1.5 GB beside the result tables
    "large": ComputeProfile("1", 4, "2Gi", "8Gi", "2Gi"),
}


def compute_profile(name: str) -> ComputeProfile:
    """Return the profile called `name`.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"compute profile {name!r} does not exist; there are {', '.join(PROFILES)}") from None
