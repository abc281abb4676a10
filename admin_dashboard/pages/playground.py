"""The playground: the operator asks a model, or two beside each other, by the API that everybody uses.

The page's script sends the operator's question with a key of the operator's own, which can chat and make pictures, nothing
else, and ends after an hour. So a question is limited, charged, recorded and cached as any other.
"""

from datetime import timedelta

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts import services, tenancy
from accounts.models import Scope
from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.core.admin.base import acting
from aichat.core.money import format_credits
from credits.services import wallet_of

KEY_LIVES = timedelta(hours=1)
KEY_NAME = "playground"
KINDS = [AIModel.Kind.CHAT, AIModel.Kind.IMAGE]


def playground(request: HttpRequest) -> HttpResponse:
    """Return the page, with the models that can be called now: those that chat, then those that make pictures."""
    wallet = wallet_of(tenancy.personal_organization(acting(request)))
    offered = [model for model in snapshot.current().values() if model.kind in KINDS and model.is_offered]
    models = sorted((KINDS.index(AIModel.Kind(model.kind)), model.slug, model.kind) for model in offered)
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "models": [(slug, kind) for _, slug, kind in models],
        "columns": ["a", "b"],
        "available": format_credits(wallet.available),
        "wallet_id": wallet.pk,
    }
    return TemplateResponse(request, "admin_dashboard/playground.html", context)


@never_cache
@require_POST
def playground_key(request: HttpRequest) -> HttpResponse:
    """Return a new key for the page's script; it is the operator's own and can only chat and make pictures."""
    operator = acting(request)
    ends = timezone.now() + KEY_LIVES
    _, secret = services.create_api_key(
        user=operator,
        organization=tenancy.personal_organization(operator),
        name=KEY_NAME,
        expires_at=ends,
        actor=operator,
        scopes=[Scope.CHAT.value, Scope.IMAGES.value],
    )
    return JsonResponse({"key": secret, "expires_at": ends})
