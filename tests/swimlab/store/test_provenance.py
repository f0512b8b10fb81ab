import subprocess

from swimlab.store import provenance

XEON = """processor	: 0
cpu family	: 6
model		: 207
model name	: Intel(R) Xeon(R) Processor
stepping	: 2

processor	: 1
cpu family	: 6
model		: 207
model name	: Intel(R) Xeon(R) Processor
"""


def test_gather_names_versions_and_the_numerics_class():
    now = provenance.utc_now()
    found = provenance.gather(numerics={"device": "cpu"}, started_at=now, finished_at=now)
    assert set(found.versions) == {"python", *provenance.PACKAGES}
    assert set(found.numerics) == {"torch", "transformers", "device"}
    assert found.numerics["torch"] == found.versions["torch"]
    assert now.endswith("+00:00")


def test_git_state_with_and_without_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "repo"
    folder.mkdir()
    assert provenance.git_state(folder) == (None, None)
    assert provenance.git_state(tmp_path / "nowhere") == (None, None)

    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    sha, dirty = provenance.git_state(folder)
    assert len(sha) == 40
    assert dirty is False
    (folder / "new").write_text("")
    assert provenance.git_state(folder) == (sha, True)
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(folder) == (None, None)


def test_a_processor_has_a_name_with_and_without_proc(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    assert provenance.processor(cpuinfo)
    cpuinfo.write_text(XEON)
    assert provenance.processor(cpuinfo) == "Intel(R) Xeon(R) Processor (family 6, model 207)"
    cpuinfo.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")
    assert provenance.processor(cpuinfo) == provenance.processor(tmp_path / "nothing")
