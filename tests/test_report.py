import base64
import html.parser
import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdistill.cli import entry as cli
from jaxdistill.data.check import Source
from jaxdistill.errors import UsageError
from jaxdistill.io.pictures import grid
from jaxdistill.io.scores import save_scores
from jaxdistill.report import curves
from jaxdistill.report import page as report
from jaxdistill.report.further import again, preset_of, to_try
from jaxdistill.report.outcome import Outcome, read
from jaxdistill.report.summary import tell
from jaxdistill.settings.as_json import to_json
from jaxdistill.settings.paths import absolute

HOSTILE = '<script>alert("1")</script> & "dogs"'
NAMES = ["cat", HOSTILE, "frog"]
VOID = {"meta", "img", "br", "link", "input"}


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and the text below each tag; refuses tags that are not closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[str]:
        return [text for parent, text in self.texts if parent == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((12, 5, 5, 3)).astype(np.float32)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def row(name, network, accuracies):
    mean, std = float(np.mean(accuracies)), float(np.std(accuracies))
    return {"set": name, "network": network, "accuracies": accuracies, "mean": mean, "std": std, "seconds": 2.0}


CONFIG = {
    "method": {"name": "dm", "image_lr": 0.5, "range": [0, 20], "soft": True, "beta": None},
    "data": {"dataset": "my data/pets.npz", "zca": False},
    "ipc": 4,
    "steps": 40,
    "seed": 3,
    "network": {"network": "convnet", "depth": None},
    "command": "distill",
}
SELECT = {
    "strategy": "herding",
    **{k: v for k, v in CONFIG.items() if k not in ("method", "steps")},
    "command": "select",
}
CARD = {
    "class_names": NAMES,
    "cost": {
        "seconds": 3725.0,
        "compile_seconds": 8.25,
        "steps_per_second": 1.5,
        "peak_memory_bytes": 3 * 2**29,
        "device": "1 x <tpu>",
    },
    "versions": {"jax": "0.10"},
}
EVALUATION = {
    "protocol": {"name": "dsa1000", "epochs": 1000, "summary": "1000 epochs of SGD"},
    "test_images": 1359,
    "rows": [
        row("dm", "convnet", [0.70, 0.72]),
        row("random", "convnet", [0.60, 0.58]),
        row("dm", "mlp", [0.40, 0.42]),
        row("random", "mlp", [0.45, 0.45]),
    ],
}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run folder with everything in it."""
    run = tmp_path_factory.mktemp("runs") / 'pets "4"'
    for step in range(0, 41, 5):
        save(run / "previews" / f"step_{step:06d}.png", grid(images(step), 3))
    save(run / "set" / "grid.png", grid(images(40), 3))
    (run / "config.json").write_text(json.dumps(CONFIG))
    (run / "set" / "card.json").write_text(json.dumps(CARD))
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    lines = [json.dumps({"step": i, "loss": 1 / i, "grad_norm": None if i == 7 else 2.0 * i}) for i in range(1, 41)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 41, "lo')
    return run


@pytest.fixture
def run(full, tmp_path):
    return shutil.copytree(full, tmp_path / "run")


def page(run) -> Page:
    return Page(report.write(run).read_text(encoding="utf-8"))


def pictures(page: Page) -> list[np.ndarray]:
    found = []
    for attributes in page.attributes("img"):
        head, data = attributes["src"].split(",")
        assert head == "data:image/png;base64"
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
    return found


def test_the_page_stands_alone(full):
    path = report.write(full)
    assert path == full / "report.html"
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    tags = {tag for tag, _ in Page(text).tags}
    assert not tags & {"script", "link", "iframe", "object"}


def test_what_a_file_says_is_text_and_never_markup(full):
    shown = page(full)
    assert shown.all("figcaption")[:3] == NAMES
    assert [attributes["alt"] for attributes in shown.attributes("img")][:3] == NAMES
    assert "1 x <tpu>" in shown.all("dd")


def test_the_numbers_people_want(full):
    shown = page(full)
    said = "With 4 images per class, networks reach 71.0 % (± 1.0 over 2 networks) on pets.npz's test images"
    assert f"{said}; with random images of the same number 59.0 % (± 1.0)." in shown.all("p")
    assert "seed 3" in " ".join(shown.all("p"))
    assert shown.all("h1") == ["dm", "pets.npz"]
    assert [text for parent, text in shown.texts if parent == "th"] == ["set", "convnet", "mlp", "dm", "random"]
    spans = shown.all("span")
    assert [text for text in spans if re.fullmatch(r"[+−][\d.]+", text)] == ["+12.0", "−4.0"]
    assert shown.all("div")[:1] + [text for text in spans if text.endswith(" %")] == [
        "71.0",
        "71.0 ± 1.0 %",
        "59.0 ± 1.0 %",
    ]
    assert [text for text in spans if text.startswith("±")] == ["± 1.0", "± 1.0", "± 1.0", "± 0.0"]
    assert shown.all("dd")[:6] == ["1 h 2 min", "8.2 s", "8.0 s", "1.5", "1.50 GiB", "1 x <tpu>"]
    sentence = " ".join(" ".join(shown.all("p")).split())
    assert "2 fresh networks are trained on each set alone: 1000 epochs of SGD" in sentence
    assert "all 1,359 test images" in sentence


def test_every_seed_has_a_dot_at_its_accuracy(full):
    dots = [attributes for attributes in page(full).attributes("i") if "title" in attributes]
    assert len(dots) == 8
    for attributes in dots:  # strips run from 40 to 75 %: the extremes, rounded outwards to five
        accuracy, at = float(attributes["title"].split()[0]), float(attributes["style"][len("left:") : -1])
        assert at == pytest.approx(100 * (accuracy - 40) / 35, abs=0.01)


def enlarged(image: np.ndarray) -> np.ndarray:
    """A 5x5 image as a grid shows it: ten times as large, 48 pixels being what can be seen."""
    return np.kron(np.round(255 * image).astype(np.uint8), np.ones((10, 10, 1), np.uint8))


def test_each_class_is_a_row_of_its_images_with_gaps_that_the_page_shines_through(full):
    for name, band in enumerate(pictures(page(full))[:3]):
        assert band.shape == (52, 4 * 52, 4)
        for i in range(4):
            cell = band[:50, 52 * i : 52 * i + 50]
            np.testing.assert_array_equal(cell[..., :3], enlarged(images(40)[4 * name + i]))
            assert (cell[..., 3] == 255).all()
        assert (band[..., 3] == 0).sum() == 52 * 4 * 52 - 4 * 50 * 50


def test_stages_run_from_the_first_to_the_last(full):
    stages = pictures(page(full))[3:]
    assert len(stages) == 6
    for stage, step in ((stages[0], 0), (stages[-1], 40)):
        opaque = stage[..., 3] == 255
        np.testing.assert_array_equal(stage[opaque][:, :3], grid(images(step), 3)[opaque])


def test_of_many_classes_those_of_the_grid_are_named(run):
    shades = np.arange(25) / 25
    pixels = grid(np.broadcast_to(shades[:, None, None, None], (25, 9, 9, 3)), 25)
    save(run / "set" / "grid.png", pixels)
    (run / "config.json").write_text(json.dumps({**CONFIG, "ipc": 1}))
    (run / "set" / "card.json").write_text(json.dumps({**CARD, "class_names": [f"{255 * v:.0f}" for v in shades]}))
    for path in (run / "previews").iterdir():
        save(path, pixels)
    shown = page(run)
    assert "The distilled image of 20 of the 25 classes." in shown.all("p")
    found = pictures(shown)
    assert shown.all("figcaption")[:20] == [str(band[0, 0, 0]) for band in found[:20]]
    assert found[20].shape == (5 * 47, 4 * 47, 4)  # twenty images in columns of five: nearly a square


def test_pictures_of_large_images_are_reduced(run):
    for path in [run / "set" / "grid.png", *(run / "previews").iterdir()]:
        save(path, np.zeros((3 * 502, 4 * 502, 3), np.uint8))
    found = pictures(page(run))
    assert [picture.shape for picture in found[:3]] == [(320, 1280, 4)] * 3
    assert found[3].shape == (540, 720, 4)


def test_of_a_configuration_of_another_version_all_is_said_again(full):
    assert words(again(CONFIG)) == [
        "jaxdistill", "distill", "dm", "--dataset", "my data/pets.npz", "--ipc", "4",
        "--image-lr", "0.5", "--range", "0", "20", "--soft", "--no-zca", "--steps", "40", "--seed", "3",
        "--network", "convnet", "--out", "DIR",
    ]  # fmt: skip
    assert again(CONFIG) in page(full).all("pre")


def words(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", ""))


@pytest.fixture
def parsed(monkeypatch):
    """What the command line makes of a command, before it is begun."""

    def parse(arguments):
        found = []
        for part, name in ((cli.distilling, "distill"), (cli.selecting, "select_set")):
            monkeypatch.setattr(part, name, lambda config, *_: found.append(absolute(config)) or {})
        assert cli.main([*arguments, "--quiet"]) == 0
        return found[0]

    return parse


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("distill dm --dataset digits --ipc 10", ""),
        ("distill dm --dataset digits --ipc 10 --steps 7 --zca --eval-network convnet,mlp --seed 3", None),
        ("distill dm --ipc 1 --dataset digits --no-zca --norm instance --image-lr 1.0", ""),
        ("distill dm --dataset digits --ipc 1 --hold-out 0.1 --eval-every 9 --keep best --legacy-best", None),
        ("distill idc --dataset mnist --ipc 10 --preset idc-i", "--preset idc-i"),
        ("distill dd --dataset mnist --ipc 1 --preset fixed-init --network-seed None", None),
        ("distill selmatch --dataset cifar10 --ipc 250 --eval-network None --max-loss 2.0", None),
        ("distill datm --dataset cifar10 --ipc 1 --max-loss None --syn-batch None", None),
        ("distill minimax --dataset digits --ipc 1 --latents", ""),
        ("select random --dataset digits --ipc 10 --beta 0.0", "--beta 0.0"),
        ("select label_solve --dataset digits --ipc 1 --kernel fc1", "--kernel fc1"),
    ],
)
def test_the_command_gives_the_configuration_again(given, said, parsed):
    config = parsed([*given.split(), "--out", "DIR"])
    _, *command = words(again(to_json(config)))
    assert to_json(parsed(command)) == to_json(config)
    dataset, ipc = config.data.dataset, config.ipc
    if said is not None:
        start = [*given.split()[:2], "--dataset", dataset, "--ipc", str(ipc)]
        assert command == [*start, *said.split(), "--out", "DIR"]


def test_with_experts_what_their_card_would_say_is_said(bank, parsed, tmp_path):
    folder = bank if isinstance(bank, str | os.PathLike) else bank.folder
    given = f"distill mtt --dataset digits --ipc 5 --experts {folder} --steps 7 --expert-count 2 --out DIR"
    config = parsed(given.split())
    _, *command = words(again(to_json(config)))
    assert "--width" in command
    assert "--no-zca" in command
    assert to_json(parsed(command)) == to_json(config)


def judged(*rows):
    return Outcome(Path("runs/a"), {**CONFIG, "ipc": 1}, CARD, {"rows": list(rows)}, np.empty(0), {}, [])


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.7, 0.72], [0.6, 0.62], "(± 1.0)."),
        (
            [0.7, 0.9],
            [0.6, 0.9],
            "The two cannot be told apart: the difference lies within the uncertainty of their means.",
        ),
        ([0.5, 0.52], [0.6, 0.62], "(± 1.0), which is more."),
        ([0.5], [0.7, 0.72], "71.0 % (± 1.0), which is more."),
        ([0.5], [0.7], "One network of each does not say whether they differ."),
    ],
)
def test_the_headline_says_whether_they_can_be_told_apart(ours, theirs, said):
    sentence = report.headline(judged(row("dm", "convnet", ours), row("random", "convnet", theirs)))
    assert sentence.startswith("With 1 image per class, ")
    assert ("networks reach" if len(ours) > 1 else "convnet reaches") in sentence
    assert sentence.endswith(said)
    assert "points" not in sentence


def test_what_is_within_the_deviations_is_asked_for_more_networks(run):
    rows = [row("dm", "convnet", [0.7, 0.9]), row("random", "convnet", [0.6, 0.9])]
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, "rows": rows}))
    shown = page(run)
    assert "+5.0 ?" in shown.all("span")
    assert any("--seeds 20" in text for text in shown.all("pre"))


@pytest.mark.parametrize(
    "given",
    [
        "distill kip --dataset digits --ipc 1",
        "distill mtt --dataset cifar10 --ipc 10 --eval-epochs 7",
        "distill minimax --dataset digits --ipc 1",
        "select label_solve --dataset digits --ipc 50 --kernel fc1",
        "select random --dataset digits --ipc 1",
    ],
)
def test_what_is_to_be_tried_are_commands(given, run, parsed):
    config = parsed([*given.split(), "--out", "DIR"])
    (run / "config.json").write_text(json.dumps(to_json(config)))
    tried = [words(line) for _, command in to_try(read(run)) for line in command.replace("\\\n", "").splitlines()]
    assert [line[1] for line in tried].count("compare") == 1
    for _, *line in tried:
        if line[0] in ("distill", "select"):
            other = parsed(line)
            assert other.evaluation.protocol == config.evaluation.protocol
            assert other.evaluation.eval_epochs == config.evaluation.eval_epochs
            assert other.network.kernel == config.network.kernel
            assert other.ipc == config.ipc or type(other) is type(config)


def test_next_come_other_networks_more_images_and_another_way(full, monkeypatch):
    monkeypatch.chdir(full.parent)
    rows = [row for row in EVALUATION["rows"] if row["network"] == "convnet"]
    found = [words(command) for _, command in to_try(read(full)._replace(evaluation={**EVALUATION, "rows": rows}))]
    assert found[0] == ["jaxdistill", "evaluate", 'pets "4"', "--network", "convnet,mlp,resnet18"]
    assert found[1][:7] == ["jaxdistill", "distill", "dm", "--dataset", "my data/pets.npz", "--ipc", "10"]
    assert found[2][:3] == ["jaxdistill", "select", "herding"]
    assert found[2][-5:-2] == ["compare", 'pets "4"', "herding-pets-4"]


def test_accuracy_on_held_out_images_is_a_curve(run):
    looks = [
        {"step": step, "accuracies": [0.5, 0.7], "mean": mean, "std": 0.1} for step, mean in ((10, 0.5), (40, 0.75))
    ]
    (run / "held_out.jsonl").write_text("\n".join(map(json.dumps, looks)) + '\n{"step": 4')
    shown = page(run)
    assert shown.all("h3")[0] == "accuracy on held-out training images, %"
    assert "75 at the end" in shown.all("span")
    before = shown.texts
    (run / "held_out.jsonl").unlink()
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, "held_out": looks}))
    assert page(run).texts == before


def test_the_best_of_many_looks_at_the_test_images_is_labelled(run):
    best = {"said": "the best of 4 looks at the test images: chosen by them", "step": 1030, "mean": 0.75, "std": 0.01}
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, "legacy_best": best}))
    (run / "held_out.jsonl").write_text('{"step": 10, "mean": 0.5, "test_mean": 0.75}\n{"step": 20, "test_mean": 0.7}')
    card = json.loads((run / "set" / "card.json").read_text())
    (run / "set" / "card.json").write_text(json.dumps({**card, "kept_step": 10}))
    said = " ".join(" ".join(page(run).all("p")).split())
    assert "75.0 ± 1.0 %, at step 1,030. It is the best of 4 looks at the test images: chosen by them" in said
    assert "networks reach 71.0 %" in said
    assert "never on test images" not in said
    assert "The set is that of step 10, which did best on them." in said


@pytest.mark.parametrize(("method", "flattered"), [("dm", False), ("mtt", True), ("ftd", True), ("tesla", True)])
def test_the_published_number_stands_beside_ours_with_its_source(run, parsed, method, flattered):
    config = to_json(parsed(["distill", method, "--dataset", "cifar10", "--ipc", "10", "--out", "DIR"]))
    (run / "config.json").write_text(json.dumps({**config, "ipc": 10}))
    (run / "set" / "grid.png").unlink()
    shutil.rmtree(run / "previews")
    published = preset_of(config).published
    said = " ".join(" ".join(page(run).all("p")).split())
    assert f"Published for this cell: {published.mean} ± {published.std} % ({published.source})." in said
    assert ("best of many looks at the test set" in said) == flattered


def test_the_same_files_give_the_same_page(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "report.html"}
    first = report.write(run).read_bytes()
    assert report.write(run).read_bytes() == first
    assert {path: path.read_bytes() for path in before} == before


def test_a_killed_run_shows_how_far_it_came(run):
    shutil.rmtree(run / "set")
    (run / "evaluation.json").unlink()
    shown = page(run)
    assert shown.all("h2") == ["How it changed", "Training", "What to try next", "Again, and elsewhere"]
    assert "it was at step 40 of 40" in " ".join(shown.all("p"))
    assert shown.all("pre")[0].startswith("jaxdistill distill dm --out ")
    assert shown.all("pre")[0].endswith(" --resume")


def test_a_selection_has_no_curves(run):
    shutil.rmtree(run / "previews")
    (run / "metrics.jsonl").unlink()
    (run / "config.json").write_text(json.dumps(SELECT))
    shown = page(run)
    assert shown.all("h1") == ["herding", "pets.npz"]
    assert shown.all("h2") == ["The set", "Test accuracy", "Cost", "What to try next", "Again, and elsewhere"]


@pytest.mark.parametrize("config", [CONFIG, SELECT])
def test_empty_files_are_as_good_as_none(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    bare = page(tmp_path)
    assert bare.all("h2") == ["What to try next", "Again, and elsewhere"]
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "previews").mkdir()
    (tmp_path / "evaluation.json").write_text('{"rows": []}')
    assert page(tmp_path).texts == bare.texts


def test_a_random_selection_is_compared_with_nothing(run):
    rows = [row("random", "convnet", [0.5])]
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, "rows": rows}))
    shown = page(run)
    assert shown.all("div")[0] == "50.0"
    assert "points" not in " ".join(shown.all("b"))


def test_other_folders_are_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json; give the folder"):
        report.write(tmp_path)
    (tmp_path / "config.json").write_text('{"comm')
    with pytest.raises(ValueError, match="is damaged"):
        report.write(tmp_path)


@pytest.mark.parametrize("field", ["command", "data", "ipc", "method"])
@pytest.mark.parametrize("value", [None, [], 0, {}])
def test_a_configuration_of_other_types_is_refused(field, value, run):
    (run / "config.json").write_text(json.dumps({**CONFIG, field: value}))
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        report.write(run)


@pytest.mark.parametrize("rows", [{}, [1], [{"set": "a"}], [{**row("a", "b", [0.5]), "accuracies": ["x"]}]])
def test_accuracies_that_are_none_are_refused(rows, run):
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, "rows": rows}))
    with pytest.raises(ValueError, match=r"evaluation\.json is damaged"):
        report.write(run)


@pytest.mark.parametrize("said", [{"class_names": 3}, {"class_names": [1]}, {"cost": [1]}, {"cost": {"seconds": "1"}}])
def test_a_card_of_other_types_is_refused(said, run):
    path = run / "set" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
    with pytest.raises(ValueError, match=r"card\.json is damaged"):
        report.write(run)


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in pair.split()] for pair in re.split("[ML]", path)[1:]])


def test_a_curve_puts_values_where_its_ticks_say():
    steps = np.arange(1.0, 101.0)
    values = np.linspace(-3.0, 5.0, 100)
    curve = curves.draw("loss", steps, values)
    assert curve is not None
    assert not curve.log
    x, y = points(curve.raw).T / 10
    (x0, first), (x1, second) = [(tick.at, float(tick.label)) for tick in curve.x[:2]]
    np.testing.assert_allclose(first + (x - x0) * (second - first) / (x1 - x0), steps, atol=0.02)
    (y0, first), (y1, second) = [(tick.at, float(tick.label)) for tick in curve.y[:2]]
    np.testing.assert_allclose(first + (y - y0) * (second - first) / (y1 - y0), values, atol=0.1)
    assert all(0 <= tick.at <= 100 for tick in curve.x + curve.y)


def test_a_positive_curve_over_decades_is_logarithmic():
    curve = curves.draw("loss", np.arange(200.0), 10 ** np.linspace(1, -3, 200))
    assert curve is not None
    assert curve.log
    assert {tick.label for tick in curve.y} >= {"0.001", "0.01", "0.1", "1", "10"}
    x, y = points(curve.raw)[5:-5].T
    np.testing.assert_allclose(y, np.polyval(np.polyfit(x, y, 1), x), atol=0.2)


def test_a_long_curve_is_short_and_keeps_its_extremes():
    values = np.sin(np.arange(50_000) / 3000)
    values[20_000] = 50.0
    curve = curves.draw("loss", np.arange(50_000.0), values)
    assert curve is not None
    x, y = points(curve.raw).T
    assert len(x) <= 600
    assert y.min() == 0.0  # the outlier, at the upper edge ...
    assert x[y.argmin()] == pytest.approx(400, abs=2)
    assert 0.9 < float(curve.y[-1].label) <= 1.1  # ... does not flatten the rest


def test_a_moving_average_is_one_and_gaps_stay_gaps():
    noise = np.random.default_rng(0).normal(0, 1, 2000)
    noise[1000:1400] = np.nan
    curve = curves.draw("loss", np.arange(2000.0), noise)
    assert curve is not None
    assert curve.raw.count("M") == curve.smooth.count("M") == 2
    assert np.std(points(curve.smooth)[:, 1]) < 0.3 * np.std(points(curve.raw)[:, 1])


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-9])
def test_a_constant_is_a_level_line(value):
    curve = curves.draw("rate", np.arange(10.0), np.full(10, value))
    assert curve is not None
    np.testing.assert_allclose(points(curve.raw)[:, 1], 500, atol=0.1)
    assert float(curve.last) == value


@pytest.mark.parametrize("values", [[np.nan, np.nan], [1.0], [1.0, np.inf]])
def test_a_single_value_is_no_curve(values):
    assert curves.draw("loss", np.arange(float(len(values))), np.array(values)) is None


def scored(path):
    """What a selection by scores leaves, of three classes of four images; class 1 is hard in the order 3 0 2 1."""
    labels = np.repeat(np.arange(3, dtype=np.int32), 4)
    shades = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1) * np.ones((8, 8, 3), np.uint8)
    data = Source("pets", shades, labels, shades, labels, tuple(NAMES))
    scores = np.array([4, 3, 2, 1, 7, 1, 3, 9, 1, 2, 3, 4.0])
    save_scores(path, scores, data, name="aum", made='mean over 2 networks of "1" epochs')


def test_the_hardest_and_easiest_images_of_each_class_are_shown(run):
    (run / "config.json").write_text(json.dumps(SELECT))
    scored(run / "scores.npz")
    shown = page(run)
    assert "Hardest and easiest" in shown.all("h2")
    assert 'Training images of each class, by aum (mean over 2 networks of "1" epochs).' in shown.all("p")
    assert shown.all("figcaption")[3:6] == NAMES
    said = [attributes["alt"] for attributes in shown.attributes("img")]
    assert said[5:7] == [f"hardest of {HOSTILE}", f"easiest of {HOSTILE}"]
    strips = pictures(shown)[3:9]
    for strip, shades in zip(strips[2:4], ([7, 4, 6, 5], [5, 6, 4, 7]), strict=True):
        assert strip.shape == (48, 4 * 48 + 3 * 2, 4)
        for i, shade in enumerate(shades):
            assert (strip[:, 50 * i : 50 * i + 48] == [shade, shade, shade, 255]).all()
        assert (strip[..., 3] == 0).sum() == 3 * 2 * 48


def test_scores_of_former_files_show_no_images_and_damaged_ones_are_told(run):
    (run / "config.json").write_text(json.dumps(SELECT))
    np.savez(run / "scores.npz", scores=np.zeros(12), labels=np.zeros(12, int))
    assert "Hardest and easiest" not in page(run).all("h2")
    (run / "scores.npz").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"scores\.npz is damaged .*remove it to leave it out"):
        report.write(run)


@pytest.mark.parametrize(
    "given",
    [
        "select el2n --dataset digits --ipc 2 --unbalanced --width 16 --beta 0.5 --eval-epochs 7",
        "distill dsa --dataset digits --ipc 2 --width 16 --update-share 0.5 --eval-combined",
        "distill mtt --dataset digits --ipc 2 --norm batch --zca",
    ],
)
def test_what_was_chosen_for_a_run_is_kept_by_what_is_to_be_tried(given, run, parsed):
    config = parsed([*given.split(), "--out", "DIR"])
    (run / "config.json").write_text(json.dumps(to_json(config)))
    tried = [words(line) for _, command in to_try(read(run)) for line in command.replace("\\\n", "").splitlines()]
    more, other = (parsed(line) for _, *line in tried if line[0] in ("distill", "select"))
    assert more.network == other.network == config.network
    assert other.evaluation.eval_combined == config.evaluation.eval_combined
    assert (more.data.zca, other.data.zca) == (config.data.zca, config.data.zca)
    selecting = given.startswith("select")
    same = ("basis", "unbalanced") if selecting else ("update_share",)
    made, wanted = (one if selecting else one.method for one in (more, config))
    assert [getattr(made, name) for name in same] == [getattr(wanted, name) for name in same]


def test_combined_augmentation_is_said_where_a_name_does_not(capsys):
    tell({"protocol": {"name": "dsa1000", "epochs": 5, "selected_augment": "crop"}, "rows": EVALUATION["rows"]})
    assert "dsa1000, 5 epochs, selected real images by crop and flip alone, " in capsys.readouterr().out
    tell({"protocol": {"name": "selmatch1000", "epochs": 5, "selected_augment": "x"}, "rows": EVALUATION["rows"]})
    assert "crop and flip" not in capsys.readouterr().out
