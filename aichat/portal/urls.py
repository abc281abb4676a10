from django.urls import path

from aichat.portal import account_urls, views

app_name = "portal"
urlpatterns = [
    path("", views.page("chat"), name="chat"),
    path("c/<uuid:conversation_id>", views.page("chat"), name="conversation"),
    path("s/<str:token>", views.page("shared"), name="shared"),
    path("images", views.page("images"), name="images"),
    path("credits", views.page("credits"), name="credits"),
    path("keys", views.page("keys"), name="keys"),
    path("team", views.page("team"), name="team"),
    *account_urls.urlpatterns,
]
