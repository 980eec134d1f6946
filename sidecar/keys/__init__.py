"""Mistral's API keys: the registry, the audit, rotation. Their secrets are never kept here."""
