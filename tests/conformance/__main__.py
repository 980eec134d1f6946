"""Rewrites the lists of expected failures."""

from conformance import cases, engines

if __name__ == "__main__":
    run = [case for case in cases.read() if not case.left_out]
    for engine in ("cel-cpp", "cel-python"):
        failing = sorted(engines.failing(engine, run))
        engines.list_of(engine).write_text("".join(f"{each}\n" for each in failing))
        print(f"{engine}: {len(run) - len(failing)} pass, {len(failing)} fail")  # noqa: T201
