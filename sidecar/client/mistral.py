"""The earlier name of `mistral_spend.mistral`, kept for one minor version."""

from mistral_spend.mistral import guard

__all__ = ["guard"]
