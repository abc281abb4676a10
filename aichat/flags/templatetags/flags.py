"""`{% load flags %}{% flag "new_banner" as is_on %}{% if is_on %}…{% endif %}`"""

from django import template
from django.template.context import Context

from aichat.flags.evaluation import is_enabled

register = template.Library()


@register.simple_tag(takes_context=True)
def flag(context: Context, key: str) -> bool:
    """Whether the flag is on for the user of the page."""
    request = context.get("request")
    return is_enabled(key, getattr(request, "user", None))
