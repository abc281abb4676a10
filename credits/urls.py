from django.urls import path

from credits.views import CreditsView, EntriesView

urlpatterns = [
    path("credits", CreditsView.as_view()),
    path("credits/entries", EntriesView.as_view()),
]
