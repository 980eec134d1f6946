"""Mistral's API keys: registry, audit and rotation. No secret is stored here."""
