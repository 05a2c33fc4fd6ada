"""Pages of HTML that need nothing else: templates, pictures within, nothing fetched."""

import base64
from collections.abc import Mapping
from typing import Any

__all__ = ["picture", "render"]


def render(package: str, template: str, content: Mapping[str, Any], **functions: Any) -> str:
    """A page from a template of a package; it may build on the base of reports beside this module.

    Args:
        package: with a folder `templates`.
        template: name of its file.
        content: what the template names; a name that is missing is an error.
        functions: what it calls.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("jcevns.plot")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(functions)
    return environment.get_template(template).render(content)


def picture(png: bytes, words: str, alt: str = "") -> dict[str, str]:
    """A picture with its words below, and what stands for it where it is not seen: the same if empty."""
    return {"png": base64.b64encode(png).decode(), "words": words, "alt": alt}
