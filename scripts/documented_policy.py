"""The lines of Python that the article UsingThePolicy.md shows: what its readers copy is what the scripts use."""

from pathlib import Path

ARTICLE = Path(__file__).resolve().parent.parent / "Sources/GuidedPolicySearch/GuidedPolicySearch.docc/UsingThePolicy.md"


def documented():
    """The names that the article's first piece of Python defines: load and action."""
    code = ARTICLE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names = {}
    exec(compile(code, str(ARTICLE), "exec"), names)
    return names
