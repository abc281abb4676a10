from django.urls import path

from aichat.images import views

urlpatterns = [
    path("images", views.ImagesView.as_view()),
    path("images/webhook-secret", views.WebhookSecretView.as_view()),
    path("images/files/<str:signed>", views.PictureFileView.as_view()),
    path("images/<uuid:job_id>", views.ImageView.as_view()),
    path("images/<uuid:job_id>/events", views.ImageEventsView.as_view()),
]
