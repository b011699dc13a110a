"""Documents of the project and the code blocks in them, for the tests that check them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for pattern in ("*.md", ".github/*.md", "experiments/**/*.md", "inres/**/*.md")
        for path in ROOT.glob(pattern)
    )
)
"""Paths of all documents, relative to the root."""


def text_of(document: str) -> str:
    """Text of a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """Contents of the code blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text_of(document), re.DOTALL)


def marked_block(document: str, mark: str, language: str) -> str:
    """The only code block that follows the comment `<!-- mark -->`.

    An end-to-end test takes its program from here and replaces `runs/phantom` with its workdir.
    """
    pattern = rf"<!-- {re.escape(mark)} -->\n```{language}\n(.*?)```"
    (block,) = re.findall(pattern, text_of(document), re.DOTALL)
    return block
