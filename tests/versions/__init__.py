"""The suite on every version of Python that the project is for: `make test-versions`."""
