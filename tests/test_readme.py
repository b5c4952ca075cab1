"""The documents: what they name exists, each can be reached from the README, and their English is plain."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "models" / "README.md",
             *sorted((ROOT / "docs").glob("*.md"))]
PAGES = "losses", "models", "networks"  # made of templates
TEMPLATES = {ROOT / "docs" / f"{name}.template.md" for name in PAGES}
README_BYTES = 10_000
# Words that these documents once used where the field has others, and private idioms.
BANNED = ("yardstick", "told", "mismatches", "hears no difference", "a hair", "rungs", "four sides", "turned copies",
          "met no training", "so many", "goes on where", "learned by heart")
PLACEHOLDERS = ("TODO", "TBD", "FIXME", "XXX", "???", "lorem")
OLD_NAMES = {"CHANGELOG.md": ("yardstick", "mismatches")}  # a changelog names what was renamed

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def links_of(document):
    """Links to files, relative to the document's folder, without their anchors."""
    return re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())


@documents
def test_links_and_scripts_exist(document):
    text = document.read_text()
    assert not re.findall(r"@[A-Z_]+@", text)
    for link in links_of(document):
        assert (document.parent / link).exists(), link
    for script in re.findall(r"python3 ((?:\w+/)*\w+\.py)", text):
        assert (ROOT / script).exists(), script
    for target in re.findall(r"`make (\w+)`", text) + re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@documents
def test_anchors_exist(document):
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
        target = document if not link else document.parent / link
        headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{link}#{anchor}"


@documents
def test_paths_in_code_exist(document):
    """Files of the toolkit that are named in `...`; what a user makes (mine.yaml, results/) is not one."""
    folders = ("doatools", "benchmarks", "configs", "models", "tests")
    for path in re.findall(rf"`((?:{'|'.join(folders)})/[\w/]+\.(?:py|yaml|pt|md))`", document.read_text()):
        assert (ROOT / path).exists(), path


@documents
def test_parameters_exist(document):
    """Each key=value after a script is a parameter, its alias, or a key of a YAML file."""
    from doatools.config.experiments import OWN_KEYS, PUBLISHED
    from doatools.config.schema import ALIASES, FLAT
    removed = {"association_gradient", "predicted"}  # of the study of losses, reproduced at an earlier commit
    known = {*FLAT, *ALIASES, *PUBLISHED, *OWN_KEYS, *removed}
    text = document.read_text().replace("\\\n", " ")
    for line in re.findall(r"python3 (?:train_doanet|batch_feature_extraction|simulate_dataset|evaluate_doanet|run)\.py"
                           r"([^\n#`]*)", text):
        for key in re.findall(r"(?<=\s)'?(\w+)=", line):
            assert key in known, key


@documents
def test_english_is_plain(document):
    text = document.read_text()
    for word in BANNED:
        if word not in OLD_NAMES.get(document.name, ()):
            assert not re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE), word
    for word in PLACEHOLDERS:
        assert word.lower() not in text.lower(), word


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_every_page_can_be_reached():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [target for link in links_of(page)
                        if (target := (page.parent / link).resolve()).suffix == ".md"]
    missing = {*DOCUMENTS} - TEMPLATES - reached - {ROOT / "models" / "README.md"}  # which GitHub shows with its folder
    assert not missing


def test_every_picture_is_shown():
    shown = {(page.parent / link).resolve() for page in DOCUMENTS for link in links_of(page)}
    assert {*(ROOT / "docs").glob("*.png")} <= shown


def test_every_array_and_task_is_documented():
    from doanet_parameters import TASKS
    from doatools.spatial.arrays import known_arrays
    arrays, tasks = ((ROOT / "docs" / name).read_text() for name in ("arrays.md", "tasks.md"))
    for name in known_arrays():
        assert f"`{name}`" in arrays, name
    for task in TASKS:
        assert re.search(rf"\b{task}\b", tasks), task


def test_python_examples_are_valid():
    for page in DOCUMENTS:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            compile(block, str(page), "exec")
