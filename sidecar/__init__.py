"""May this call to Mistral go out, and what is left to spend?"""

__version__ = "0.1.0"
