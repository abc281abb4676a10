from django.urls import path

from aichat.catalog import views

urlpatterns = [path("admin/model-access/<path:slug>", views.ModelAccessView.as_view())]
