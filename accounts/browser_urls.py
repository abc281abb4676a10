"""The paths below `/accounts/`, for browsers."""

from django.urls import path

from accounts import sso_views

urlpatterns = [
    path("login", sso_views.enter),
    path("login/", sso_views.enter),
    path("signup", sso_views.sign_up),
    path("signup/", sso_views.sign_up),
    path("oidc/login", sso_views.begin, name="sso"),
    path("oidc/login/callback", sso_views.finish, name="sso-callback"),
]
