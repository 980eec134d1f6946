"""The tests on every supported version of Python: `make test-versions`."""
