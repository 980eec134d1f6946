"""May this call to Mistral go out, and what is left to spend?"""
