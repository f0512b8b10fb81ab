import subprocess

from swimlab import provenance


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
