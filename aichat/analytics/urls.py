from django.urls import path

from aichat.analytics import views

urlpatterns = [path("events", views.EventsView.as_view())]
