"""The command line: quick help, one-line errors, exit codes, progress."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kindred.api.cli import COMMANDS, main
from kindred.api.cli.output import BarProgress, LineProgress, json_option, print_table
from kindred.schemas.errors import InputError, NotBuilt

HEAVY = {
    "torch", "sentence_transformers", "open_clip", "torchvision", "lightgbm", "implicit", "sklearn",
    "scipy", "qdrant_client", "qdrant_edge", "polars", "litestar", "rich",
}  # fmt: skip


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a command that raises what it is given; returns a runner."""
    raised: list[BaseException] = []

    @click.command()
    @json_option
    @click.option("--k", type=int)
    @click.pass_context
    def command(ctx: click.Context, k: int | None, as_json: bool) -> None:
        click.echo(f"workspace {ctx.obj['workspace']}")
        if raised:
            raise raised[0]

    module = ModuleType("probe_command")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe_command", module)
    monkeypatch.setitem(COMMANDS, "probe", ("probe_command:command", "For this test."))

    def run(*args: str, error: BaseException | None = None, **options: Any) -> Any:
        raised[:] = [error] if error else []
        return CliRunner().invoke(main, args, **options)

    return run


def test_help_shows_every_command_and_imports_none() -> None:
    script = (
        "import sys\n"
        "from kindred.api.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert all(name in done.stdout for name in COMMANDS)
    assert not [name for name in HEAVY if f"'{name}'" in done.stderr]
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    explained(command, name)


def explained(command: click.Command, name: str) -> None:
    assert command.help, f"{name}: the function needs a docstring"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts} needs help"
    if isinstance(command, click.Group):
        for below in command.commands.values():
            explained(below, f"{name} {below.name}")
    else:
        assert "--json" in {o for p in command.params for o in p.opts}, f"{name} needs --json"


def test_a_commands_help_imports_no_model_library() -> None:
    script = (
        "import sys, click\n"
        "from kindred.api.cli import main, COMMANDS\n"
        "for name in COMMANDS: main.get_command(click.Context(main), name)\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & (HEAVY - {"scipy", "polars", "litestar", "rich"})


def test_the_workspace_comes_from_option_then_environment_then_default(probe: Any) -> None:
    assert probe("-w", "a", "probe").stdout == "workspace a\n"
    assert probe("probe", env={"KINDRED_WORKSPACE": "b"}).stdout == "workspace b\n"
    assert probe("probe").stdout == "workspace workspace\n"


def test_an_error_is_one_line_on_stderr_and_exit_code_2(probe: Any) -> None:
    done = probe("probe", error=NotBuilt("no index yet: run `kindred index`"))
    assert done.exit_code == 2
    assert done.stderr == "kindred: no index yet: run `kindred index`\n"


def test_with_json_an_error_is_a_problem_on_stdout(probe: Any) -> None:
    done = probe("probe", "--json", error=InputError("must be positive", "$.k"))
    problem = json.loads(done.stdout.removeprefix("workspace workspace\n"))
    assert done.exit_code == 2
    assert problem["type"] == "urn:kindred:input-error"
    assert problem["errors"] == [{"path": "$.k", "reason": "must be positive"}]


def test_with_json_a_usage_error_is_a_problem_too(probe: Any) -> None:
    done = probe("probe", "--json", "--k", "many")
    assert done.exit_code == 2
    assert "many" in json.loads(done.stdout)["detail"]
    assert json.loads(probe("nothing", "--json").stdout)["title"] == "No such command"


def test_an_interruption_says_that_work_resumes(probe: Any) -> None:
    done = probe("probe", error=KeyboardInterrupt())
    assert done.exit_code == 130
    assert "resume" in done.stderr


def test_a_defect_is_not_dressed_up_as_an_error_of_the_user(probe: Any) -> None:
    done = probe("probe", error=ZeroDivisionError())
    assert isinstance(done.exception, ZeroDivisionError)


def test_without_a_terminal_progress_is_plain_lines() -> None:
    now = iter([0.0, 1.0, 6.0, 7.0])
    written = io.StringIO()
    with LineProgress(written, clock=lambda: next(now)).task("encode text", 40) as advance:
        advance(10)
        advance(20)
    assert written.getvalue().splitlines() == [
        "encode text: 30 of 40 (75%)",
        "encode text: done, 30 in 7.0 s",
    ]


def test_on_a_terminal_progress_is_bars_even_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    written = Terminal()
    progress = BarProgress(written)
    with progress.task("import", 2) as a, progress.task("encode") as b:
        a(2)
        b(7)
    assert "2/2" in written.getvalue()
    assert "7/7" in written.getvalue()


def test_a_table_aligns_numbers_and_shows_markup_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("Stages", ["stage", "rows", "HR"], [["als", 12_345, 0.123456], ["[b]", None, 1.0]])
    out = capsys.readouterr().out
    assert "12,345" in out
    assert "0.1235" in out
    assert "[b]" in out
