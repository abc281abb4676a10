from django.urls import path

from aichat.usage import key_views, member_views, views

urlpatterns = [
    path("usage", views.UsageView.as_view()),
    path("organizations/<uuid:organization_id>/members", member_views.MembersView.as_view()),
    path("organizations/<uuid:organization_id>/members/<uuid:user_id>", member_views.MemberView.as_view()),
    path("statements/<str:month>", views.StatementView.as_view()),
    path("api-keys", key_views.ApiKeysView.as_view()),
    path("api-keys/<uuid:key_id>", key_views.ApiKeyView.as_view()),
    path("api-keys/<uuid:key_id>/rotate", key_views.RotateApiKeyView.as_view()),
]
