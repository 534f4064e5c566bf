"""The command `visionrnn`: its words, its help, its codes, and that outputs are the same everywhere."""

import json
import os
import shutil
import subprocess
import sys
from inspect import getdoc

import pytest

from tests.conftest import SCRIPTS
from visionrnn.cli import COMMANDS, main
from visionrnn.models import cards
from visionrnn.tasks import TASKS


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command in this process -> exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["visionrnn", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capsys.readouterr()

    return run


def test_help_names_every_command_and_task(call):
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    for words in COMMANDS:
        assert all(word in out for word in words)
    assert call("train", "--help")[:2] == (0, out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "usage: visionrnn"),
        (("train",), "usage: visionrnn"),
        (("capton", "x.jpg"), "did you mean 'caption'?"),
        (("train", "captionning"), "did you mean 'captioning'?"),
        (("evaluate", "--data", "x"), "expected captioning"),
        (("caption", "--no-such-flag"), "no-such-flag"),
    ],
)
def test_bad_usage_is_said_and_ends_with_2(call, words, said):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_help_comes_at_once():
    """In 0.3 s of CPU, of which none goes into a task, nor into tyro."""
    code = (
        "import resource, sys\n"
        "from visionrnn.cli import main\n"
        "sys.argv = ['visionrnn', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)\n"
        "assert not {'torch', 'numpy', 'tyro'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SCRIPTS.parent
    )
    assert float(done.stderr) < 0.3


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "visionrnn", "--help"], capture_output=True, text=True, cwd=SCRIPTS.parent
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "usage: visionrnn COMMAND ...")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_loads_and_says_how_it_is_called(words):
    config, function = COMMANDS[words].load()
    assert callable(function)
    assert f"visionrnn {' '.join(words)}" in getdoc(config)


def test_every_command_has_a_script():
    called = set()
    for script in SCRIPTS.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        if "from visionrnn.cli import main" in text:
            assert len(text.splitlines()) <= 6
            called.add(tuple(eval(text.rpartition("main(")[2].join(("[", "")).replace(")", "]"))))
    assert called == set(COMMANDS) - {("models",), ("completion",), ("demo",)}


def test_a_script_names_itself_and_takes_the_same_flags(script):
    done = script("caption.py", "--help")
    assert (done.code, "visionrnn caption photo.jpg" in done.out) == (0, True)


def test_models_lists_what_comes_along(call):
    code, out, _ = call("models", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {row["model"] for row in rows} >= {task.model for task in TASKS if task.model}
    assert all(row["scores"] and row["terms"] and row["megabytes"] < 30 for row in rows)
    assert len(call("models")[1].splitlines()) == len(rows)


@pytest.mark.parametrize("folder", cards(), ids=lambda folder: folder.name)
def test_cards_have_the_header_of_the_hub_and_the_scores_of_the_reports(folder):
    from huggingface_hub import ModelCard

    data = ModelCard.load(folder / "README.md").data
    assert (data.library_name, bool(data.license), bool(data.pipeline_tag)) == ("visionrnn", True, True)
    for score in data.eval_results:
        report = json.loads((SCRIPTS.parent / score.source_url).read_text(encoding="utf-8"))
        assert score.metric_value in [v for v in report.values() if isinstance(v, float)], score.metric_name


def test_tasks_without_their_packages_are_said(monkeypatch, call):
    for name in [name for name in sys.modules if name.startswith("forecasting")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    code, _, err = call("forecast", "x.csv", "--model", "x")
    assert (code, "pip install '.[forecast]'" in err) == (2, True)


def test_completion_knows_commands_tasks_and_flags(call, tmp_path):
    code, out, _ = call("completion", "bash")
    assert not code
    script = tmp_path / "completion.bash"
    script.write_text(
        out + "\ncomplete() { :; }\nCOMP_WORDS=(visionrnn train captioning --da); COMP_CWORD=3\n"
        "function=$(declare -F | sed -n 's/declare -f \\(_tyro_visionrnn\\)$/\\1/p'); $function\n"
        'echo "found ${COMPREPLY[*]}"\n'
    )
    found = subprocess.run(
        ["bash", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    ).stdout
    assert "found --data" in found


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_completion_is_a_script_of_zsh(call, tmp_path):
    code, out, _ = call("completion", "zsh")
    assert not code
    assert "#compdef visionrnn" in out
    (tmp_path / "_visionrnn").write_text(out)
    done = subprocess.run(["zsh", "-n", tmp_path / "_visionrnn"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
