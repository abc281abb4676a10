"""The frames of windows over a page, which differ in their fields alone."""

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_block_tag
def window(content: str, id: str, form: str, title: str = "", verb: str = "", danger: bool = False) -> SafeString:
    """A window whose form a script sends (`dialogs.js`); a problem is said in it, and it is closed when all went well."""
    what = {"id": id, "form": form, "title": title, "verb": verb, "danger": danger}
    return render_to_string("portal/window.html", {"content": content, **what})


@register.simple_block_tag
def question(content: str, id: str, title: str, verb: str, danger: bool = False) -> SafeString:
    """A window that asks before something is done: `openDialog` (`dialogs.js`) waits for the answer."""
    what = {"id": id, "title": title, "verb": verb, "danger": danger}
    return render_to_string("portal/question.html", {"content": content, **what})
