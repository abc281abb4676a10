from django.urls import path

from aichat.portal import views

app_name = "portal"
urlpatterns = [
    path("", views.page("chat"), name="chat"),
    path("c/<uuid:conversation_id>", views.page("chat"), name="conversation"),
    path("images", views.page("images"), name="images"),
    path("credits", views.page("credits"), name="credits"),
    path("keys", views.page("keys"), name="keys"),
    path("account", views.page("account"), name="account"),
    path("login", views.page("login"), name="login"),
    path("signup", views.page("signup"), name="signup"),
    path("reset-password", views.page("reset-password"), name="reset-password"),
    path("verify-email", views.page("verify-email")),
    path("accept-invitation", views.page("accept-invitation")),
    path("portal/login", views.LoginView.as_view()),
    path("portal/signup", views.SignUpView.as_view()),
    path("portal/logout", views.LogoutView.as_view()),
]
