from django.urls import path

from aichat.payments import views

urlpatterns = [
    path("vouchers/redeem", views.RedeemView.as_view()),
    path("admin/vouchers", views.VouchersView.as_view()),
]
