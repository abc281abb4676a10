from django.urls import path

from aichat.chat import views

urlpatterns = [
    path("chat", views.ChatView.as_view()),
    path("conversations", views.ConversationsView.as_view()),
    path("conversations/<uuid:conversation_id>", views.ConversationView.as_view()),
    path("conversations/<uuid:conversation_id>/messages", views.MessagesView.as_view()),
    path("conversations/<uuid:conversation_id>/shares", views.SharesView.as_view()),
    path("conversations/<uuid:conversation_id>/shares/<uuid:user_id>", views.ShareView.as_view()),
    path("messages/<uuid:message_id>/feedback", views.FeedbackView.as_view()),
]
