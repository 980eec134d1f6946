"""Lints: warnings about valid rules, data and fixtures that are probably mistakes."""
