"""The paths below `/accounts/`, for browsers."""

from django.urls import path

from accounts import browser_pages, sso_views

urlpatterns = [
    path("oidc/login", sso_views.begin, name="sso"),
    path("oidc/login/", sso_views.begin),
    path("oidc/login/callback", sso_views.finish, name="sso-callback"),
    path("oidc/logout", sso_views.leave, name="sso-logout"),
    path("oidc/backchannel-logout", sso_views.BackchannelLogoutView.as_view()),
    path("", browser_pages.lead),
    path("<path:path>", browser_pages.lead),
]
