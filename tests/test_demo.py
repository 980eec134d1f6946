"""`make demo` shows what the README says it shows."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_demo_shows_the_whole_job() -> None:
    """Four callers are allowed; a model, a size, a place, a budget and a rate are denied."""
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS), "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    for who in ("dana, developer", "sam, senior", "ana, analyst", "ci-runner, developer"):
        assert who in done.stdout
    for code in (
        "403 MODEL_NOT_ALLOWED",
        "403 REQUEST_TOO_LARGE",
        "403 NO_RULE_ALLOWS",
        "429 TRAINEE_TOKENS_EXHAUSTED",
        "429 RATE_LIMITED",
    ):
        assert code in done.stdout
    assert "What is left" in done.stdout
