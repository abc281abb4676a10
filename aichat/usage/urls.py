from django.urls import path

from aichat.usage import views

urlpatterns = [path("usage", views.UsageView.as_view())]
