"""Policy tests: fixtures, the test runner, and coverage."""
