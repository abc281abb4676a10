from django.urls import path

from admin_dashboard.experiments import views

urlpatterns = [
    path("experiments", views.ExperimentsView.as_view()),
    path("experiments/<str:key>", views.ExperimentView.as_view()),
    path("experiments/<str:key>/history", views.ExperimentHistoryView.as_view()),
    path("experiments/<str:key>/results", views.ResultsView.as_view()),
]
