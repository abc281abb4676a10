from django.urls import path

from aichat.flags import views

urlpatterns = [
    path("flags", views.FlagsView.as_view()),
    path("admin/flags", views.AdminFlagsView.as_view()),
    path("admin/flags/<str:key>", views.AdminFlagView.as_view()),
    path("admin/flags/<str:key>/history", views.HistoryView.as_view()),
]
