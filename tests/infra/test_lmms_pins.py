"""The pins of lmms-eval's environment: exact, and of the libraries that compute answers those of our own."""

import re
from pathlib import Path

REPO = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([\w.]+)")


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    matches = [PIN.fullmatch(line.partition(";")[0].strip()) for line in lines]
    assert None not in matches, [line for line, match in zip(lines, matches, strict=True) if match is None]
    return {match[1].lower(): match[2] for match in matches if match}


def test_every_package_is_pinned_and_answers_are_computed_by_the_versions_that_train() -> None:
    lmms, ours = pins(REPO / "infra" / "lmms" / "requirements.txt"), pins(REPO / "constraints.txt")
    assert {"lmms_eval", "decord", "num2words", "torchvision"} <= {name.replace("-", "_") for name in lmms}
    assert {name: lmms[name] for name in ("torch", "transformers")} == {
        name: ours[name] for name in ("torch", "transformers")
    }
    # Why it is an environment of its own: no version of these is right for both.
    assert int(lmms["av"].split(".")[0]) < 16 <= int(ours["av"].split(".")[0])
    assert int(lmms["protobuf"].split(".")[0]) < 7 <= int(ours["protobuf"].split(".")[0])
