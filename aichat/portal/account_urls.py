"""The pages of an account, which are there also without the others (PORTAL=false): mails and the admin site lead to them."""

from django.urls import path

from aichat.portal import views

app_name = "portal"
urlpatterns = [
    path("account", views.page("account"), name="account"),
    path("login", views.page("login"), name="login"),
    path("signup", views.page("signup"), name="signup"),
    path("reset-password", views.page("reset-password"), name="reset-password"),
    path("verify-email", views.page("verify-email"), name="verify-email"),
    path("accept-invitation", views.page("accept-invitation")),
    path("portal/login", views.LoginView.as_view()),
    path("portal/passkey-login", views.PasskeyLoginView.as_view()),
    path("portal/signup", views.SignUpView.as_view()),
    path("portal/logout", views.LogoutView.as_view()),
]
