from django.urls import path

from aichat.chat import attachment_views, link_views, views

urlpatterns = [
    path("chat", views.ChatView.as_view()),
    path("chat/stop", views.StopView.as_view()),
    path("conversations", views.ConversationsView.as_view()),
    path("conversations/<uuid:conversation_id>", views.ConversationView.as_view()),
    path("conversations/<uuid:conversation_id>/messages", views.MessagesView.as_view()),
    path("conversations/<uuid:conversation_id>/shares", views.SharesView.as_view()),
    path("conversations/<uuid:conversation_id>/shares/<uuid:user_id>", views.ShareView.as_view()),
    path("conversations/<uuid:conversation_id>/links", link_views.LinksView.as_view()),
    path("conversations/<uuid:conversation_id>/links/<uuid:link_id>", link_views.LinkView.as_view()),
    path("shared/<str:token>", link_views.SharedPageView.as_view()),
    path("attachments", attachment_views.AttachmentsView.as_view()),
    path("attachments/files/<str:ticket>", attachment_views.AttachmentFileView.as_view()),
    path("messages/<uuid:message_id>/feedback", views.FeedbackView.as_view()),
]
