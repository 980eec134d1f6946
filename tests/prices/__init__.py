"""Our price list, compared with the one of the genai-prices package."""
