from django.urls import path

from credits.views import CreditsView, EntriesView, VerifyEmailView

urlpatterns = [
    path("auth/email/verify", VerifyEmailView.as_view()),
    path("credits", CreditsView.as_view()),
    path("credits/entries", EntriesView.as_view()),
]
