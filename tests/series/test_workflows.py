"""What GitHub is asked to do, done here: each step is run, or at least read by the shell that runs it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from common.config import ROOT

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yml")}
STEPS = [step for flow in WORKFLOWS.values() for job in flow["jobs"].values() for step in job["steps"] if "run" in step]
GITHUB = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "me/mine"}


def run(name: str, cwd: Path) -> None:
    """Do the step with this name, as GitHub does."""
    [code] = [step["run"] for step in STEPS if step.get("name") == name]
    subprocess.run(["bash", "-e", "-c", code], cwd=cwd, env=os.environ | GITHUB, check=True)


def git(*arguments: str | Path) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.get("name", step["run"]))
def test_a_step_is_a_command_of_this_repository(step: dict) -> None:
    subprocess.run(["bash", "-n", "-c", re.sub(r"\$\{\{.*?\}\}", "x", step["run"])], check=True)
    named = re.findall(r"(?<![\w/])(?:\./|\.ci/|requirements)[\w./-]+", step["run"])
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_workflow_may_write_but_what_it_has_to() -> None:
    rights = {name: flow["permissions"] for name, flow in WORKFLOWS.items()}
    assert rights == {"tests": {"contents": "read"}, "publish": {}}
    assert WORKFLOWS["publish"]["jobs"]["address"]["permissions"] == {"contents": "write"}


def test_links_of_the_served_report_lead_into_it_or_to_files_on_github(tmp_path: Path) -> None:
    html = tmp_path / "outputs" / "html"
    shutil.copytree(ROOT / "outputs" / "html", html)
    run("Let links that leave the report lead to GitHub", tmp_path)
    links = [link for path in html.glob("*.html") for link in re.findall(r'(?:href|src)="([^"]*)"', path.read_text())]
    files = [link.partition("/blob/main/")[2].partition("#")[0] for link in links if "/me/mine/" in link]
    assert len(files) > 9 and [name for name in files if not (ROOT / name).exists()] == []
    inside = [link.partition("#")[0] for link in links if not re.match(r"\w+:|#", link)]
    assert [name for name in inside if not (html / name).resolve().is_relative_to(html)] == []


def test_the_address_is_committed_where_it_is_new(tmp_path: Path) -> None:
    git("init", "-q", "--bare", "-b", "main", tmp_path / "origin")
    git("clone", "-q", tmp_path / "origin", tmp_path / "here")
    (tmp_path / "here" / "page.md").write_text("no address")
    git("-C", tmp_path / "here", "add", "page.md")
    git("-C", tmp_path / "here", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "First")
    for text, commits in ("me/mine", 2), ("me/mine", 2), ("you/yours", 3):
        (tmp_path / "here" / "page.md").write_text(text)
        run("Commit what is new", tmp_path / "here")
        assert len(git("-C", tmp_path / "origin", "log", "--oneline", "main").splitlines()) == commits
