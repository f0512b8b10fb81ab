"""The jinja environment of all pages: data is escaped, its control characters too, and an unknown name in a template is
an error."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from swimlab.base.printable import printable
from swimlab.data.doctor.tally import shown
from swimlab.report import cells, number_format


@cache
def _environment() -> Environment:
    # Cached, because compiling the templates takes 0.1 s a page.
    environment = Environment(
        loader=PackageLoader("swimlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_literal,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=number_format.short, shown=shown)
    for name in ("as_printed", "duration", "mean_ci", "moment", "number", "p_value", "seeds_needed"):
        environment.globals[name] = getattr(number_format, name)
    environment.globals.update(
        column_title=cells.column_title,
        qualifiers=cells.qualifiers,
        claim_reason=cells.claim_reason,
        trailing_columns=cells.TRAILING_COLUMNS,
    )
    return environment


def _literal(value: Any) -> Any:
    """Called by jinja with every value before it escapes it. Markup, such as our own SVG, has been through here."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(template: str, **content: Any) -> str:
    """Renders a template of report/templates with `content` as its variables. Every template can call the functions of
    `number_format`, so that pages print numbers alike."""
    return _environment().get_template(template).render(**content)
