"""A command that fails before there is anything to go on from leaves nothing that is in its way."""

import pytest

from jaxdistill.cli import main
from jaxdistill.commands import distill
from jaxdistill.commands import train_experts as experts
from jaxdistill.io import artifact, export, generators

DATA = ["--dataset", "digits", "--width", "8", "--quiet"]
SHORT = [*DATA, "--ipc", "1", "--eval-seeds", "0"]


def raising(error):
    def fail(*given, **more):
        raise error

    return fail


CASES = [
    (["distill", "dm", *SHORT, "--steps", "2"], (distill, "drive")),
    (["select", "random", *SHORT], (artifact, "save_set")),
    (["experts", *DATA, "--count", "1", "--epochs", "1"], (experts, "trained")),
]


@pytest.mark.parametrize("error", [ValueError("our fault"), KeyboardInterrupt(), OSError(28, "No space left")])
@pytest.mark.parametrize(("words", "place"), CASES)
def test_a_command_can_be_given_again(words, place, error, tmp_path, monkeypatch, capsys):
    words = [*words, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(*place, raising(error))
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            with pytest.raises(ValueError, match="our fault"):
                main(words)
        else:
            assert main(words) == (1 if isinstance(error, KeyboardInterrupt) else 2)
    assert not any(tmp_path.iterdir())
    assert main(words) == 0


def test_what_is_worth_keeping_stays(tmp_path, monkeypatch, capsys):
    words = [*CASES[0][0], "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(distill, "finish", raising(ValueError("our fault")))
        with pytest.raises(ValueError, match="our fault"):
            main(words)
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    assert main(words) == 2
    assert main([*words, "--resume"]) == 0


def test_a_folder_of_another_is_left_alone(tmp_path, monkeypatch, capsys):
    words = [*CASES[0][0], "--out", str(tmp_path / "run")]
    assert main(words) == 0
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    monkeypatch.setattr(distill, "drive", raising(ValueError("our fault")))
    with pytest.raises(ValueError, match="our fault"):
        main([*words, "--resume"])
    assert (tmp_path / "run" / "config.json").is_file()


@pytest.mark.parametrize("form", ["npz", "torch", "folder"])
def test_a_failed_export_leaves_nothing(form, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["select", "random", *SHORT, "--out", str(run)]) == 0
    part = {"npz": "_arrays", "torch": "save", "folder": "png"}[form]
    monkeypatch.setattr(export, part, raising(ValueError("our fault")))
    with pytest.raises(ValueError, match="our fault"):
        main(["export", str(run), "--format", form, "--out", str(out)])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_generator_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(generators.json, "dumps", raising(ValueError("our fault")))
    with pytest.raises(ValueError, match="our fault"):
        generators.save_generator(tmp_path / "g", {}, generators.Architecture(), (8, 8, 1), 3, {}, new=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "_"), CASES)
def test_a_folder_below_a_file_is_refused(words, _, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*words, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "would be below a file" in capsys.readouterr().err
