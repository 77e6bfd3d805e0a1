"""`cvbench run`, `status` and `config` as a user types them: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import jsonschema
import pytest
import yaml

from cvbench.errors import CvbenchError, IncompleteError, ResourceError, UnknownNameError, UsageError
from tests.cli.test_startup import HEAVY, HELP, modules_after
from tests.commands import run
from tests.forks import Start
from tests.jobs.extraction.test_extract import contents
from tests.jobs.study.studies import write_study
from tests.waiting import looks

DEADLINE = 150
ATTEMPTS = 5
"""How often a study may be over before this process, which others may hold up, has looked at its store."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study that has run."""
    path = write_study(tmp_path_factory.mktemp("study"))
    result = run("run", str(path))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["done"] * 3
    assert "results/digits/test/spectra/" in lines[1]
    return path


def test_a_plan_says_each_step_and_runs_none(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    result = run("run", str(path), "--plan")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("3 of 3 steps to do; 4 units to extract, ")
    assert lines[1].startswith("below 1 s of extraction and training at the rates that ")
    assert lines[3].startswith("  1  extract digits/test: missing; 0 of 4 units of 32 samples, ")
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]
    long = run("run", str(path), "--plan", "--long").stdout.splitlines()
    assert long[3:8:2] == lines[3:6]
    assert [shlex.split(line)[:3] for line in long[4:9:2]] == [
        ["cvbench", "extract", "--dataset"],
        ["cvbench", "analyze", "spectra"],
        ["cvbench", "report", "--store"],
    ]
    assert os.listdir(tmp_path) == ["study.yaml"]


def test_plan_and_status_say_what_is_there(study: Path) -> None:
    plan, status = run("run", str(study), "-n"), run("status", str(study))
    assert plan.stdout.splitlines()[0].startswith("0 of 3 steps to do; 0 units to extract, 0 B to write")
    assert status.stdout.splitlines()[-1] == "3 of 3 steps are done"
    assert status.stdout.startswith("done      extract digits/test: all 4 units of 32 samples\n")
    more = run("status", str(study), "--set", "datasets.digits.limit=64")
    assert more.stdout.splitlines()[0].startswith("partly    extract digits/test: 4 of 8 units of 64 samples, ")


def test_json_has_all_of_it(study: Path) -> None:
    for words in (["run", str(study), "-n"], ["status", str(study)], ["run", str(study)]):
        document = json.loads(run(*words, "--format", "json").stdout)
        assert document["schema_version"] == 1
        assert [step["state"] for step in document["steps"]] == ["done"] * 3
        assert document["steps"][0]["name"] == "extract digits/test"
        assert document["steps"][1]["command"].startswith("cvbench analyze spectra --store ")


def test_a_failing_step_ends_with_code_5_and_the_rest_is_done(tmp_path: Path) -> None:
    datasets = [{"dataset": f"folder:{tmp_path}/none"}, {"dataset": "digits", "limit": 8}]
    path = write_study(tmp_path, datasets=datasets)
    for form in ("table", "json"):
        result = run("run", str(path), "--format", form)
        assert isinstance(result.exception, IncompleteError)
        assert result.exception.exit_code == 5
        said = str(result.exception)
        assert f"again: cvbench extract --dataset folder:{tmp_path}/none" in said
        assert "fix: give the path of a folder" in said
    steps = json.loads(result.stdout)["steps"]
    assert [step["state"] for step in steps] == ["failed", "done", "skipped", "done", "done"]
    assert steps[0]["error"]["code"] == "data-unavailable"
    status = run("status", str(path)).stdout
    assert status.startswith("failed    extract folder:")
    assert "  again: cvbench extract" in status
    assert status.splitlines()[-1] == "3 of 5 steps are done"


@pytest.mark.parametrize("words", [["run"], ["run", "-n"], ["status"]])
def test_a_report_that_is_no_folder_is_refused(tmp_path: Path, words: list[str]) -> None:
    result = run(*words, str(write_study(tmp_path)), "--set", "report.out=s3://bucket/report")
    assert isinstance(result.exception, UsageError), result.output
    assert "s3://bucket/report is no folder of this machine" in str(result.exception)
    assert os.listdir(tmp_path) == ["study.yaml"]


HOSTILE = [
    "[" * 100_000,
    "[]",
    '{"COMMAND": []}',
    '{"COMMAND": {"what": 1, "did_you_mean": 3}}',
    '{"COMMAND": {"what": "x", "fix": ["a"]}}',
]


@pytest.mark.parametrize("content", HOSTILE)
def test_failures_that_somebody_else_wrote_are_not_read(tmp_path: Path, content: str) -> None:
    path = write_study(tmp_path)
    command = json.loads(run("status", str(path), "--format", "json").stdout)["steps"][0]["command"]
    out = Path(yaml.safe_load(path.read_text())["report"]["out"])
    out.mkdir()
    (out / "failures.json").write_text(content.replace("COMMAND", json.dumps(command)[1:-1]))
    status = run("status", str(path))
    assert status.exit_code == 0, status.exception
    assert "failed" not in status.stdout


@pytest.mark.parametrize("words", [["run"], ["run", "-n"], ["status"]])
def test_mistakes_have_their_line_and_code_2(tmp_path: Path, words: list[str]) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("image_size", "imagesize").replace("unit: 8", "unit: some"))
    result = run(*words, str(path))
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    lines = path.read_text().splitlines()
    said = str(result.exception).splitlines()
    assert said[0] == f"2 things are wrong with {path}"
    for key in ("imagesize", "unit"):
        at = next(number for number, line in enumerate(lines, start=1) if key in line)
        assert any(line.startswith(f"{path}:{at}: ") and key in line for line in said)
    assert "did you mean image_size" in str(result.exception)
    assert os.listdir(tmp_path) == ["study.yaml"]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("extract.limitt=3", UnknownNameError, "limit"),
        ("analyses.spectro.resamples=3", UnknownNameError, "spectra"),
        ("extract.unit=some", UsageError, "should be a valid integer"),
        ("device=cdua", UnknownNameError, "cuda"),
        ("backbones.0.model=test_vitt", UnknownNameError, "test_vit"),
    ],
)
def test_what_is_set_wrongly_is_refused(tmp_path: Path, given: str, kind: type[CvbenchError], said: str) -> None:
    result = run("run", str(write_study(tmp_path)), "--set", given)
    assert isinstance(result.exception, kind), result.output
    assert said in str(result.exception)
    assert f"--set {given}" in str(result.exception)
    assert os.listdir(tmp_path) == ["study.yaml"]


def test_the_file_that_init_writes_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("config", "init")
    assert result.stdout.splitlines() == ["file: study.yaml", "next: cvbench run study.yaml --plan"]
    schema = json.loads(run("config", "schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(Path("study.yaml").read_text()))
    assert run("config", "init", "-").stdout == Path("study.yaml").read_text()
    small = ["--set", "backbones=[{model: test_vit, weights: random}]", "--set", "extract.image_size=64"]
    planned = run("run", "study.yaml", "--plan", *small)
    assert planned.exit_code == 0, planned.output
    assert "transfer probe digits" in planned.stdout

    again = run("config", "init")
    assert isinstance(again.exception, UsageError)
    nowhere = run("config", "init", "none/study.yaml")
    assert isinstance(nowhere.exception, ResourceError)


@pytest.mark.parametrize("arguments", [["run", "--help"], ["status", "--help"], ["config", "--help"], ["--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = HELP.format(arguments=arguments) + "assert 'cvbench.jobs.study' not in sys.modules"
    printed, modules = modules_after(code)
    assert "Usage" in printed
    own = set() if len(arguments) > 1 else {"pydantic"}  # typer takes it for the options of a command
    assert modules.isdisjoint({*HEAVY, "yaml", "jinja2", *own})


def test_a_schema_is_printed_without_anything_heavy() -> None:
    _, modules = modules_after(HELP.format(arguments=["config", "schema"]))
    assert modules.isdisjoint({"torch", "timm", "ray", "zarr"})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_that_the_same_command_resumes(
    start: Start, study: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    for attempt in range(ATTEMPTS):
        path = write_study(tmp_path / str(attempt))
        process = start(["run", str(path)])
        # A block is there, and so zarr's event loop: of one that is cut off while it is made Python tells on stderr.
        for _ in looks(DEADLINE):
            if process.poll() is not None or any((path.parent / "study.zarr").rglob("c.*")):
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE)
        if process.returncode and not (path.parent / "report").exists():  # else it was too far before anybody looked
            break
    assert process.returncode == code, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert not (path.parent / "report").exists()
    again = run("run", str(path))
    assert again.exit_code == 0, again.output
    assert contents(path.parent / "study.zarr") == contents(study.parent / "study.zarr")
