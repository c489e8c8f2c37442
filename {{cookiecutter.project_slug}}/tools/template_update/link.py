"""Write the record of a project that has none.

Its template was a folder or an archive, its hooks were refused, or it was made without a template.
"""

import tempfile
from pathlib import Path

from . import record
from .answers import read_questions
from .errors import RefusedError
from .git import Repository
from .record import Record
from .releases import Template
from .renderer import Renderer
from .update import choose
from .workbench import Workbench


def link(repository: Repository, url: str, to: str | None, answers: dict[str, str]) -> int:
    """Write `.cruft.json` for a release and answers, and say how well they fit the files here.

    Raises
    ------
    RefusedError
        If there is a record, or the template does not ask what is answered.
    """
    path = repository.root / record.NAME
    if path.exists():
        message = f"there is a {record.NAME}: remove it first if it is wrong"
        raise RefusedError(message)
    with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
        scratch = Path(folder).resolve()
        with Renderer(scratch / "render") as renderer:
            template = Template.clone(url, scratch / "template")
            target = choose(template, to, Record(url, "", None, {}, None, {}))
            checkout = template.checkout(target.commit, "new", None)
            questions = read_questions(checkout)
            if unknown := sorted(set(answers) - set(questions)):
                message = f"the template does not ask {', '.join(unknown)}"
                raise RefusedError(message)
            slug = {"project_slug": repository.root.name}
            given = {key: value for key, value in slug.items() if key in questions} | answers
            renderer.ask(checkout, given, url=url, commit=target.commit, strict=True)
            rendered = renderer.answer(target.name)
            bench = Workbench(scratch / "bench", repository)
            made = bench.store_folder(rendered.folder)
        yours = repository.committed()
        same = [name for name in made if yours.get(name) == made[name]]
        lost = [name for name in made if name not in yours]
    found = Record(url, target.commit, target.tag, rendered.answers, None, {})
    path.write_text(found.text(), encoding="utf-8", newline="\n")
    print(f"{record.NAME} says: {url} at {target.name}, with the answers")
    for question, answer in rendered.answers.items():
        print(f"  {question}: {answer}")
    print(f"Of the {len(made)} files of such a project {len(same)} are here as they are rendered, ")
    print(f"{len(made) - len(same) - len(lost)} are different and {len(lost)} are not here.")
    print("If that is far from what you expect, remove it and give other answers or another --to.")
    print(f"Then: git add {record.NAME} && git commit")
    return 0
