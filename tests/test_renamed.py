"""Former names of options: taken for one version, with a note."""

import dataclasses
import warnings

import pytest

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.cli.spelling import newly_named
from jaxdistill.common.renamed import former_names
from jaxdistill.io.records import build
from jaxdistill.methods import METHODS
from jaxdistill.settings.config import Distill, Select
from jaxdistill.settings.options import Evaluate, Experts


@pytest.mark.parametrize("kind", [*METHODS, Distill, Select, Evaluate, Experts], ids=lambda kind: kind.__name__)
def test_every_former_name_has_a_present_one_and_is_none(kind):
    names = {field.name for field in dataclasses.fields(kind)}
    former = getattr(kind, "FORMER_NAMES", {})
    assert set(former.values()) <= names
    assert not former.keys() & names


def test_a_configuration_takes_former_names_with_a_warning_where_they_are_used():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert jd.DM(per_class=8) == jd.DM(real_batch=8)
        assert dataclasses.replace(jd.DM(), per_class=8) == jd.DM(real_batch=8)
    assert [(str(one.message), one.filename) for one in caught] == [
        ("per_class is called real_batch; the former name goes with the next version", __file__)
    ] * 2
    with pytest.raises(TypeError, match="unheard"):
        jd.DM(unheard=1)


def test_what_is_stored_by_former_names_is_read_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build(jd.MTT, {"rate": 0.5, "batch": 7}) == jd.MTT(student_lr=0.5, syn_batch=7)


def test_the_command_line_takes_them_with_a_note(tmp_path, capsys):
    words = ["--dataset", "digits", "--ipc", "1", "--steps", "1", "--width", "4", "--eval-seeds", "0"]
    assert main(["distill", "dm", *words, "--per-class=8", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "--per-class is called --real-batch; the former name goes with the next version" in said
    assert '"real_batch": 8' in (tmp_path / "run" / "config.json").read_text()


def test_what_another_option_is_called_is_no_former_name():
    @dataclasses.dataclass
    class Form:
        batch: int = 1

    said = []
    assert newly_named(["--batch", "3"], said.append, Form, jd.DC) == ["--batch", "3"]
    assert newly_named(["--batch", "3"], said.append, jd.DC) == ["--inner-batch", "3"]
    assert len(said) == 1


def test_python_takes_them_with_a_warning(tmp_path):
    data = jd.load("digits")
    with pytest.warns(DeprecationWarning, match="per_class is called real_batch"):
        run = jd.distill("dm", data, ipc=1, steps=1, width=4, per_class=8, progress=False)
    assert run.config.method.real_batch == 8
    assert former_names(type(run.config.method)) == {"per_class": "real_batch"}
