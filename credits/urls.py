from django.urls import path

from credits import views

urlpatterns = [
    path("credits", views.CreditsView.as_view()),
    path("credits/entries", views.EntriesView.as_view()),
]
