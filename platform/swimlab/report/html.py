"""The jinja environment of all pages: everything that comes from data is escaped, an unknown name is an error."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from swimlab.data.doctor.tally import shown
from swimlab.report import cells, number_format


@cache
def _environment() -> Environment:
    # One a session: compiling the templates takes 0.1 s a page.
    environment = Environment(
        loader=PackageLoader("swimlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=number_format.short, shown=shown)
    for name in ("as_printed", "duration", "mean_ci", "moment", "number", "p_value", "seeds_needed"):
        environment.globals[name] = getattr(number_format, name)
    environment.globals.update(column_title=cells.column_title, verdict_text=cells.verdict_text)
    return environment


def render(template: str, **content: Any) -> str:
    """A page of report/templates. Numbers are printed by `number_format`, whose functions every template knows."""
    return _environment().get_template(template).render(**content)
