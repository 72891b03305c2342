"""The product on Kubernetes: its images, and its releases by published charts."""

from irt_analytics.deploy.commands import command

__all__ = ["command"]
